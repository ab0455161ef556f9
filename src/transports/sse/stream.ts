/**
 * A stream: one client's response, as the socket of its session.
 *
 * Nothing is answered before the session's first word: a client that is not let in, and that would not be the next
 * time, gets a status, since that is what stops a browser from coming back. Whoever may come back gets a stream that
 * says when, and ends. It promises that what waits for a client who does not read is counted, and that the response
 * is left alone once it is over.
 */
import type { HttpResponse } from 'uWebSockets.js';
import { CLOSE_CODES } from '../../protocol.ts';
import type { Socket } from '../../session/socket.ts';
import { json, send } from '../answer.ts';
import { commentLine, eventOf, type FrameEvent, idLine, KEEP_ALIVE, retryLine } from './event.ts';
import type { FanOut, Receiver } from './fan-out.ts';
import type { Places } from './places.ts';

/** The code of a stream that ends since one of its subscriptions cannot be had now. */
export const COME_LATER = 1011;

export type Headers = Readonly<Record<string, string>>;

export interface StreamOptions {
  response: HttpResponse;
  /** Of every answer, such as those that let a page of another origin read it. */
  headers: Headers;
  fanOut: FanOut;
  places: Places;
  /** Whether the topic at that place begins at another time than now. */
  catchesUp(place: number): boolean;
  /** The client was let in. */
  onOpen(): void;
  /** A subscription cannot be had now, and may be later. */
  onUnavailable(): void;
  onOver(): void;
}

/** Browsers come back after so long, and a random part of as much again. */
export const RETRY_MS = {
  normal: 1_000,
  draining: 0,
  later: 5_000,
  full: 10_000,
  /** Who was sent away for good: a browser cannot be told so any other way. */
  never: 86_400_000,
};
const RETRY_SPREAD_MS = { draining: 1_000 };

/** Errors of a subscription that its client mends by asking again. */
const MAY_BE_LATER = new Set<string>(['unavailable', 'internal']);
/** What a browser must not come back from. */
const STATUS: Readonly<Record<number, string>> = {
  [CLOSE_CODES.unauthorized]: '401 Unauthorized',
  [CLOSE_CODES.forbidden]: '403 Forbidden',
};
const RETRY_BY_CODE: Readonly<Record<number, keyof typeof RETRY_MS>> = {
  [CLOSE_CODES.draining]: 'draining',
  [CLOSE_CODES.forbidden]: 'never',
  [CLOSE_CODES.overLimit]: 'full',
  [COME_LATER]: 'later',
};
export const STREAM_HEADERS: Headers = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-store',
  'X-Accel-Buffering': 'no',
  'X-Content-Type-Options': 'nosniff',
  // Once it has ended, the next one may be for another instance.
  Connection: 'close',
};

/** How long a client that was sent away may take to read what it was sent before. */
const LINGER_MS = 5_000;

/** When a browser comes back after so much; a random time, so that not all come at once. */
export function retryAfter(why: keyof typeof RETRY_MS): string {
  const spread = why === 'draining' ? RETRY_SPREAD_MS.draining : RETRY_MS[why];
  return retryLine(RETRY_MS[why] + Math.random() * spread);
}

export class Stream implements Socket, Receiver {
  readonly #options: StreamOptions;
  readonly #response: HttpResponse;
  readonly #topics = new Set<string>();
  #state: 'waiting' | 'open' | 'ending' | 'over' = 'waiting';
  /** Why the client is not let in, until the session ends. */
  #refusal: FrameEvent | null = null;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  /** What the network did not take at once: then all else waits here, where it can be counted. */
  #stuckBytes = 0;
  #flushDue = false;
  #quiet = false;
  #linger: NodeJS.Timeout | undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#response = options.response;
    this.#response.onAborted(() => this.#leave());
    this.#response.onWritable(() => this.#goOn());
  }

  send(frame: string): void {
    const event = eventOf(frame);
    const { type, id, code = '' } = event.head;
    if (this.#state === 'waiting') {
      if (type === 'error') {
        this.#refusal = event;
        return;
      }
      this.#begin('normal');
      this.#options.onOpen();
    }
    this.deliver(event);
    if (type === 'error' && id !== undefined && MAY_BE_LATER.has(code)) this.#options.onUnavailable();
  }

  deliver({ head, body }: FrameEvent): void {
    const { places, catchesUp } = this.#options;
    const id = places.take(head, catchesUp);
    if (id) this.#push(idLine(id));
    this.#push(body);
  }

  subscribe(topic: string): void {
    this.#topics.add(topic);
    this.#options.fanOut.add(topic, this);
  }

  unsubscribe(topic: string): void {
    this.#topics.delete(topic);
    this.#options.fanOut.remove(topic, this);
  }

  end(code: number, reason: string): void {
    this.#forget();
    const status = STATUS[code];
    if (this.#state === 'waiting' && status !== undefined) {
      this.#refuse(status);
      return;
    }
    const why = RETRY_BY_CODE[code] ?? 'normal';
    if (this.#state === 'waiting') {
      this.#begin(why);
      if (this.#refusal !== null) this.#push(this.#refusal.body);
    }
    this.#push(Buffer.from(`${commentLine(`${code} ${reason}`)}${retryAfter(why)}\n`));
    this.#state = 'ending';
    this.#linger = setTimeout(() => this.terminate(), LINGER_MS);
    this.#write();
  }

  terminate(): void {
    if (this.#state === 'over') return;
    this.#leave();
    this.#response.close();
  }

  bufferedBytes(): number {
    return this.#queuedBytes + this.#stuckBytes;
  }

  /** A comment, where nothing else was sent since the last time. */
  keepAlive(): void {
    if (this.#quiet && this.#state === 'open' && this.bufferedBytes() === 0) this.#push(KEEP_ALIVE);
    this.#quiet = true;
  }

  #begin(why: keyof typeof RETRY_MS): void {
    this.#state = 'open';
    const { headers } = this.#options;
    this.#response.cork(() => {
      this.#response.writeStatus('200 OK');
      for (const [name, value] of Object.entries({ ...STREAM_HEADERS, ...headers }))
        this.#response.writeHeader(name, value);
      this.#response.write(`${retryAfter(why)}\n`);
    });
  }

  #refuse(status: string): void {
    const { code = 'forbidden', message = '' } = this.#refusal?.head ?? {};
    const { headers } = this.#options;
    this.#leave();
    const extra = status.startsWith('401') ? { ...headers, 'WWW-Authenticate': 'Bearer' } : headers;
    this.#response.cork(() => send(this.#response, 'get', json(status, { error: code, message }, extra)));
  }

  #push(bytes: Buffer): void {
    if (this.#state !== 'open') return;
    this.#quiet = false;
    this.#enqueue(bytes);
    if (this.#flushDue) return;
    // What one turn brings leaves together.
    this.#flushDue = true;
    queueMicrotask(() => {
      this.#flushDue = false;
      this.#write();
    });
  }

  #enqueue(bytes: Buffer): void {
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.byteLength;
  }

  /** The network takes some more: whether all that was stuck, only a write can tell. */
  #goOn(): boolean {
    this.#response.cork(() => {
      if (this.#response.write(KEEP_ALIVE)) this.#stuckBytes = 0;
    });
    this.#write();
    return this.#stuckBytes === 0;
  }

  /** Hands on what waits, as far as the network takes it. */
  #write(): void {
    if (this.#state === 'over' || this.#state === 'waiting' || this.#stuckBytes > 0) return;
    let taken = 0;
    this.#response.cork(() => {
      for (const bytes of this.#queue) {
        taken++;
        this.#queuedBytes -= bytes.byteLength;
        if (this.#response.write(bytes)) continue;
        this.#stuckBytes = bytes.byteLength;
        break;
      }
    });
    this.#queue = this.#queue.slice(taken);
    if (this.#state !== 'ending' || this.bufferedBytes() > 0) return;
    this.#leave();
    this.#response.cork(() => this.#response.end());
  }

  #forget(): void {
    for (const topic of [...this.#topics]) this.unsubscribe(topic);
  }

  #leave(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    clearTimeout(this.#linger);
    this.#forget();
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#stuckBytes = 0;
    this.#options.onOver();
  }
}
