/** A live collection: the rows of a topic, right at all times. */
import type { Row } from '../protocol/server-frame.ts';
import { type CollectionOptions, createCollection } from './collection.ts';
import type { RowcastError } from './error.ts';
import { createListeners } from './listeners.ts';
import type { Context, Member, Status, Transaction } from './member.ts';

/**
 * The rows of a topic. At any time they are the table's at one commit: of a snapshot that is under way, or of a
 * transaction in part, nothing is seen.
 */
export interface Live<T extends Row = Row> extends AsyncIterable<Transaction> {
  /** In order. Another array only when something changed; rows that did not are the same objects. */
  readonly rows: readonly T[];
  readonly status: Status;
  /** Why it is `denied`. */
  readonly error: RowcastError | undefined;
  /** Calls the listener once for each transaction that changed rows, and when the status changes; gives the way out. */
  subscribe(listener: () => void): () => void;
  /** Ends it; its rows stay as they are. */
  close(): void;
}

export interface LiveContext extends Context {
  readonly changes: (topic: string) => AsyncIterator<Transaction>;
}

export function createLive<T extends Row>(
  topic: string,
  options: CollectionOptions,
  { numbers, onError, end, changes }: LiveContext,
): Live<T> & Member {
  const collection = createCollection<T>(options, numbers);
  const told = createListeners<void>(onError);
  const live: Live<T> & Member = {
    topic,
    status: 'connecting',
    error: undefined,
    need: collection.wanted,
    hearing: 'all',
    collection,
    get rows() {
      return collection.rows;
    },
    subscribe: told.add,
    [Symbol.asyncIterator]: () => changes(live.topic),
    take(transaction) {
      collection.apply(transaction.changes);
      if (live.hearing === 'all') live.show();
    },
    show() {
      if (collection.isLow) reset();
      if (collection.show()) told.tell();
    },
    reset,
    statusChanged: told.tell,
    close: () => end(live),
  };

  function reset(): void {
    live.need = collection.wanted;
  }

  return live;
}
