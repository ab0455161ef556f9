/** A live collection: the rows of a topic, right at all times. */
import type { Row } from '../protocol/server-frame.ts';
import { Collection, type CollectionOptions } from './collection.ts';
import type { RowcastError } from './error.ts';
import { type Context, Member, type Status, type Transaction } from './member.ts';

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
  /** Runs what calls the user's code, and reports what it throws. */
  readonly guard: (call: () => void) => void;
  readonly isNumeric: (column: string) => boolean;
  readonly changes: (topic: string) => AsyncIterator<Transaction>;
}

export class LiveMember<T extends Row> extends Member implements Live<T> {
  readonly collection: Collection<T>;
  readonly #listeners = new Set<() => void>();
  readonly #context: LiveContext;

  constructor(topic: string, options: CollectionOptions, context: LiveContext) {
    super(topic, context);
    this.#context = context;
    this.collection = new Collection(options, context.isNumeric);
    this.need = this.collection.wanted;
  }

  get rows(): readonly T[] {
    return this.collection.rows;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  [Symbol.asyncIterator](): AsyncIterator<Transaction> {
    return this.#context.changes(this.topic);
  }

  override take({ changes }: Transaction): void {
    this.collection.apply(changes);
    if (this.hearing === 'all') this.show();
  }

  override show(): void {
    if (this.collection.isLow) this.reset();
    if (this.collection.show()) this.statusChanged();
  }

  override reset(): void {
    this.need = this.collection.wanted;
  }

  override statusChanged(): void {
    for (const listener of [...this.#listeners]) this.#context.guard(listener);
  }
}
