/**
 * The relay: writes messages of clients into the log, from where they reach every instance, and this one too.
 *
 * Messages that come while others are being written go together, in one transaction. It promises that each is written
 * once, in the order in which they came from one client, or that whoever sent it is told; and that what waits is
 * bounded.
 */
import { type Observe, reasonOf } from '../observation.ts';
import { ProtocolError } from '../protocol.ts';

export interface Outgoing {
  readonly to: { readonly channel: string } | { readonly user: string };
  readonly event: string;
  /** JSON. */
  readonly payload: string;
  /** The user who sends it; null for a client without a token, and for a service. */
  readonly from: string | null;
}

export interface Relay {
  /** Resolves when it is committed. Rejects with a `ProtocolError`: `bad_frame` for what cannot be stored, `unavailable`. */
  send(message: Outgoing): Promise<void>;
}

export interface RelayOptions {
  /** Writes a JSON array of messages, all of them or none. Rejects with `bad_frame` where one cannot be stored. */
  write(messages: string): Promise<void>;
  observe: Observe;
}

interface Waiting {
  readonly json: string;
  resolve(): void;
  reject(error: unknown): void;
}

const MAX_TOGETHER = { messages: 500, chars: 1024 * 1024 };
const MAX_WAITING_CHARS = 16 * 1024 * 1024;

export function createRelay({ write, observe }: RelayOptions): Relay {
  const waiting: Waiting[] = [];
  let waitingChars = 0;
  let writing = false;

  function take(): Waiting[] {
    let chars = 0;
    let count = 0;
    for (const { json } of waiting) {
      if (count > 0 && (count === MAX_TOGETHER.messages || chars + json.length > MAX_TOGETHER.chars)) break;
      chars += json.length;
      count++;
    }
    waitingChars -= chars;
    return waiting.splice(0, count);
  }

  async function writeAll(): Promise<void> {
    writing = true;
    while (waiting.length > 0) await writeTogether(take());
    writing = false;
  }

  async function writeTogether(batch: readonly Waiting[]): Promise<void> {
    try {
      await write(`[${batch.map(({ json }) => json).join(',')}]`);
      observe({ type: 'message.relayed', messages: batch.length });
      for (const { resolve } of batch) resolve();
    } catch (error) {
      const isBad = error instanceof ProtocolError && error.code === 'bad_frame';
      if (isBad && batch.length > 1) {
        // One of them: the others are none the worse for it.
        for (const one of batch) await writeTogether([one]);
        return;
      }
      observe({ type: 'message.failed', messages: batch.length, error: reasonOf(error) });
      for (const { reject } of batch) reject(isBad ? error : notNow(error));
    }
  }

  return {
    send({ to, event, payload, from }) {
      const json = `${JSON.stringify({ ...to, event, from }).slice(0, -1)},"payload":${payload}}`;
      return new Promise((resolve, reject) => {
        if (waitingChars > MAX_WAITING_CHARS) return reject(notNow(undefined));
        waiting.push({ json, resolve, reject });
        waitingChars += json.length;
        if (!writing) void writeAll();
      });
    },
  };
}

function notNow(cause: unknown): ProtocolError {
  return new ProtocolError('unavailable', 'the message could not be written; send it again after a while', {
    cause,
  });
}
