/**
 * Commits as the feed hands them on.
 *
 * A commit is all watched changes of one transaction. One that is not large is a single page; a large one comes
 * in several, one after the other with nothing between them.
 */
import type { Op } from './topic.ts';

export interface TableChange {
  /** The table as a canonical topic spells it, `public.messages`. */
  readonly table: string;
  readonly op: Op;
  /** The wire text of the change, a JSON object, without `effect`. */
  readonly wire: string;
}

export interface Page {
  readonly xid: bigint;
  /** When the transaction was committed, RFC 3339 in UTC. */
  readonly at: string;
  readonly changes: readonly TableChange[];
  readonly first: boolean;
  readonly last: boolean;
  /** The cursor of whoever has got this page. */
  readonly cursor: string;
}
