/** Messages to be published, each of which is answered once: published, or not. */
import type { AnswerFrame, ErrorFrame } from '../protocol/server-frame.ts';
import { RowcastError } from './error.ts';

/** To whom. */
export type Target = { readonly channel: string } | { readonly user: string };

interface Letter {
  readonly frame: { readonly id: string };
  isSent: boolean;
  resolve(): void;
  reject(error: RowcastError): void;
}

export class Outbox {
  readonly #send: (frame: object) => void;
  readonly #letters = new Map<string, Letter>();
  #count = 0;

  constructor(send: (frame: object) => void) {
    this.#send = send;
  }

  get isEmpty(): boolean {
    return this.#letters.size === 0;
  }

  /** Sends it at once where `isOpen`, else with `flush`. Resolves when it is committed; rejects with a `RowcastError`. */
  publish(target: Target, event: string, payload: unknown, isOpen: boolean): Promise<void> {
    const id = `p${++this.#count}`;
    const frame = { type: 'publish', id, ...target, event, payload: payload ?? null };
    return new Promise((resolve, reject) => {
      this.#letters.set(id, { frame, isSent: false, resolve, reject });
      if (isOpen) this.flush();
    });
  }

  /** Sends what has not been sent. */
  flush(): void {
    for (const letter of this.#letters.values()) {
      if (letter.isSent) continue;
      letter.isSent = true;
      this.#send(letter.frame);
    }
  }

  /** False where the answer is to something else. */
  answer(frame: AnswerFrame | ErrorFrame): boolean {
    const letter = this.#letters.get(frame.id ?? '');
    if (letter === undefined) return false;
    this.#letters.delete(letter.frame.id);
    if (frame.type === 'error') letter.reject(new RowcastError(frame.code, frame.message));
    else letter.resolve();
    return true;
  }

  /** No answer will come: to those that were sent, or to `all`. */
  lose(error: RowcastError, all = false): void {
    for (const [id, letter] of this.#letters) {
      if (!letter.isSent && !all) continue;
      this.#letters.delete(id);
      letter.reject(error);
    }
  }
}
