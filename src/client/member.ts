/** Whoever follows a topic: what a source knows of it, and tells it. */
import type { Change, MessageFrame, ResetReason } from '../protocol/server-frame.ts';
import type { Collection, Wanted } from './collection.ts';
import type { RowcastError } from './error.ts';
import type { Numbers } from './numbers.ts';

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
  readonly numbers: Numbers;
  readonly onError: (error: unknown) => void;
  /** Ends a member. */
  readonly end: (member: Member) => void;
}

export interface Member {
  status: Status;
  error: RowcastError | undefined;
  /** As far as it is known: canonical once the service has said it. */
  topic: string;
  /** The rows that it needs before changes are of use to it. */
  need: Wanted | undefined;
  hearing: Hearing;
  /** Its rows, while it has any. */
  collection: Collection | undefined;
  take(transaction: Transaction): void;
  message?(frame: MessageFrame): void;
  /** All up to here is known. */
  moved?(cursor: string): void;
  /** What has come is right, and may be shown. */
  show(): void;
  /** Changes were lost. */
  reset(reason: ResetReason): void;
  statusChanged(): void;
}
