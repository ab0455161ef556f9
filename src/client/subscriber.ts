/** A subscription with handlers: each transaction's changes, as they come. */
import type { MessageFrame, ResetReason, Row } from '../protocol/server-frame.ts';
import { createCollection, type Wanted } from './collection.ts';
import { guarded } from './listeners.ts';
import type { Context, Member, Status, Transaction } from './member.ts';
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
  readonly storage: Storage | undefined;
}

export function createSubscriber(
  topic: string,
  options: SubscribeOptions,
  { numbers, storage, onError, end }: SubscriberContext,
): Subscription & Member & { cursor: string | undefined } {
  const { snapshot } = options;
  const key = `rowcast:${topic}`;
  const fail = (error: unknown) => (options.onError ?? onError)(error);
  const call = (handler: () => void) => guarded(handler, fail);

  const subscriber: ReturnType<typeof createSubscriber> = {
    topic,
    status: 'connecting',
    error: undefined,
    /** Of what was handed on last, or what it begins with. */
    cursor: options.since,
    need: undefined,
    hearing: 'all',
    /** The rows of its snapshot, until they have been handed on. */
    collection: undefined,
    take({ changes, cursor, at }) {
      if (subscriber.hearing === 'quietly') subscriber.collection?.apply(changes);
      else {
        call(() => options.onChange?.(changes, { cursor, at }));
        moved(cursor);
      }
    },
    message(frame) {
      call(() => options.onMessage?.(frame));
      moved(frame.cursor);
    },
    moved,
    show() {
      const { collection } = subscriber;
      if (!collection) return;
      collection.show();
      subscriber.collection = undefined;
      call(() => options.onSnapshot?.(collection.rows));
    },
    reset(reason) {
      if (snapshot) wantRows();
      else call(() => storage?.remove(key));
      call(() => options.onReset?.(reason));
    },
    statusChanged() {
      const { status, error } = subscriber;
      call(() => options.onStatus?.(status));
      if (status === 'denied') fail(error);
    },
    close: () => end(subscriber),
  };

  function wantRows(): void {
    const collection = createCollection(snapshot === true ? {} : snapshot || {}, numbers);
    subscriber.collection = collection;
    subscriber.need = collection.wanted;
  }

  function moved(cursor: string): void {
    subscriber.cursor = cursor;
    if (!snapshot) call(() => storage?.set(key, cursor));
  }

  if (snapshot) wantRows();
  // Who begins with the rows has no use for what came after others.
  else
    call(() => {
      subscriber.cursor ??= storage?.get(key) || undefined;
    });
  return subscriber;
}
