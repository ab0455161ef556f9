/** Messages to be published, each of which is answered once: published, or not. */
import type { AnswerFrame, ErrorFrame } from '../protocol/server-frame.ts';
import { RowcastError } from './error.ts';
import type { Numbers } from './numbers.ts';

/** To whom. */
export type Target = { readonly channel: string } | { readonly user: string };

export interface Outbox {
  /** How many are unanswered. */
  readonly size: number;
  /**
   * `flush` sends it. Resolves when it is committed; rejects with a `RowcastError`,
   * or with what JSON has to say of a payload that it cannot hold.
   */
  publish(target: Target, event: string, payload: unknown): Promise<void>;
  /** Sends what has not been sent. */
  flush(): void;
  /** False where the answer is to something else. */
  answer(frame: AnswerFrame | ErrorFrame): boolean;
  /** No answer will come: to those that were sent, or to `all`. */
  lose(error: RowcastError, all?: boolean): void;
}

interface Letter {
  /** Empty once it was sent. */
  text: string;
  resolve(): void;
  reject(error: RowcastError): void;
}

export function createOutbox(send: (text: string) => void, numbers: Numbers): Outbox {
  const letters = new Map<string | undefined, Letter>();
  let count = 0;

  return {
    get size() {
      return letters.size;
    },
    publish: (target, event, payload = null) =>
      new Promise((resolve, reject) => {
        const id = `p${++count}`;
        const text = numbers.stringify({ type: 'publish', id, ...target, event, payload });
        letters.set(id, { text, resolve, reject });
      }),
    flush() {
      for (const letter of letters.values()) {
        if (letter.text) send(letter.text);
        letter.text = '';
      }
    },
    answer(frame) {
      const letter = letters.get(frame.id);
      if (frame.type === 'error') letter?.reject(new RowcastError(frame));
      else letter?.resolve();
      return letters.delete(frame.id);
    },
    lose(error, all) {
      for (const [id, letter] of letters) {
        if (letter.text && !all) continue;
        letters.delete(id);
        letter.reject(error);
      }
    },
  };
}
