/** A subscription with handlers: each transaction's changes, as they come. */
import type { MessageFrame, ResetReason, Row } from '../protocol/server-frame.ts';
import { Collection, type Wanted } from './collection.ts';
import { type Context, Member, type Status, type Transaction } from './member.ts';
import type { Storage } from './storage.ts';

export interface Handlers {
  /** One transaction. */
  onChange?(changes: Transaction['changes'], at: Pick<Transaction, 'cursor' | 'at'>): void;
  /** The rows of `snapshot`, all at once; the changes after them follow. Once more after a reset. */
  onSnapshot?(rows: readonly Row[]): void;
  /** Changes were lost, as the log does not hold them any more, or the database is another one. */
  onReset?(reason: ResetReason): void;
  /** A message on a channel or in the inbox. */
  onMessage?(message: MessageFrame): void;
  onStatus?(status: Status): void;
  /** It was denied; or a handler threw. By default it is told to the client's `onError`. */
  onError?(error: unknown): void;
}

export interface SubscribeOptions extends Handlers {
  /** Begin with the rows: all, or the first `limit` in `order`. */
  readonly snapshot?: boolean | Wanted;
  /** Begin after this cursor. Not with `snapshot`. */
  readonly since?: string;
}

export interface Subscription {
  /** In its canonical spelling once the service has said it. */
  readonly topic: string;
  /** Resumes after all that was handed on. */
  readonly cursor: string | undefined;
  readonly status: Status;
  close(): void;
}

export interface SubscriberContext extends Context {
  readonly isNumeric: (column: string) => boolean;
  readonly storage: Storage | undefined;
}

export class Subscriber extends Member implements Subscription {
  /** Of what was handed on last, or what it begins with. */
  cursor: string | undefined;
  /** The rows of its snapshot, until they have been handed on. */
  collection: Collection<Row> | undefined;
  readonly #options: SubscribeOptions;
  readonly #context: SubscriberContext;
  readonly #key: string;

  constructor(topic: string, options: SubscribeOptions, context: SubscriberContext) {
    super(topic, context);
    this.#options = options;
    this.#context = context;
    this.#key = `rowcast:${topic}`;
    this.cursor = options.since;
    if (options.snapshot) this.#wantRows();
    // Who begins with the rows has no use for what came after others.
    else
      this.#call(() => {
        this.cursor ??= context.storage?.get(this.#key) || undefined;
      });
  }

  override take({ changes, cursor, at }: Transaction): void {
    if (this.hearing === 'quietly') this.collection?.apply(changes);
    else {
      this.#call(() => this.#options.onChange?.(changes, { cursor, at }));
      this.moved(cursor);
    }
  }

  override message(frame: MessageFrame): void {
    this.#call(() => this.#options.onMessage?.(frame));
    this.moved(frame.cursor);
  }

  override show(): void {
    const { collection } = this;
    collection?.show();
    this.collection = undefined;
    if (collection) this.#call(() => this.#options.onSnapshot?.(collection.rows));
  }

  override reset(reason: ResetReason): void {
    if (this.#options.snapshot) this.#wantRows();
    else this.#call(() => this.#context.storage?.remove(this.#key));
    this.#call(() => this.#options.onReset?.(reason));
  }

  override moved(cursor: string): void {
    this.cursor = cursor;
    if (!this.#options.snapshot) this.#call(() => this.#context.storage?.set(this.#key, cursor));
  }

  override statusChanged(): void {
    this.#call(() => this.#options.onStatus?.(this.status));
    if (this.status === 'denied') this.#fail(this.error);
  }

  #wantRows(): void {
    const { snapshot } = this.#options;
    this.collection = new Collection(snapshot === true ? {} : snapshot || {}, this.#context.isNumeric);
    this.need = this.collection.wanted;
  }

  #call(handler: () => void): void {
    try {
      handler();
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #fail(error: unknown): void {
    const { onError = this.#context.onError } = this.#options;
    onError(error);
  }
}
