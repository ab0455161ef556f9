/** Whoever follows a topic: what a source knows of it, and tells it. */
import type { Change, MessageFrame, ResetReason, Row } from '../protocol/server-frame.ts';
import type { Beginning, Collection, Wanted } from './collection.ts';
import type { RowcastError } from './error.ts';

/**
 * Where a subscription is: `connecting` for the first time, `catching up` with what it lacks, `live`, `offline` until
 * the connection is back, `denied` by the service (its error says why).
 */
export type Status = 'connecting' | 'catching up' | 'live' | 'offline' | 'denied';

/** The changes of one transaction to one topic, in the order in which they were made. */
export interface Transaction {
  readonly changes: readonly Change[];
  /** Resumes after this transaction. */
  readonly cursor: string;
  /** The commit time, RFC 3339 in UTC. */
  readonly at: string;
}

/**
 * What a member hears of the changes before its source is live: `all`; `nothing`, as it begins only then; or all
 * `quietly`, as some of it is older than its rows, so that it is right, and to be shown, when the source is live.
 */
export type Hearing = 'all' | 'nothing' | 'quietly';

/** What members have of their client. */
export interface Context {
  readonly onError: (error: unknown) => void;
  /** Ends a member. */
  readonly end: (member: Member) => void;
}

export abstract class Member {
  status: Status = 'connecting';
  error: RowcastError | undefined;
  /** As far as it is known: canonical once the service has said it. */
  topic: string;
  /** The rows that it needs before changes are of use to it. */
  need: Wanted | undefined;
  hearing: Hearing = 'all';
  readonly #context: Context;

  constructor(topic: string, context: Context) {
    this.topic = topic;
    this.#context = context;
  }

  /** Its rows, while it has any. */
  abstract get collection(): Collection<Row> | undefined;
  abstract take(transaction: Transaction): void;
  /** What has come is right, and may be shown. */
  abstract show(): void;
  /** Changes were lost. */
  abstract reset(reason: ResetReason): void;
  abstract statusChanged(): void;

  message(_: MessageFrame): void {}
  /** All up to here is known. */
  moved(_cursor: string): void {}

  /** What comes concerns it: it has the rows that it needs, and knows up to where. */
  get isPlaced(): boolean {
    return this.need === undefined && this.hearing !== 'nothing';
  }

  /** Rows to begin with. Afterwards it needs none. */
  begin(beginning: Beginning): void {
    this.need = undefined;
    this.collection?.begin(beginning);
  }

  /** Ends it. */
  close(): void {
    this.#context.end(this);
  }
}
