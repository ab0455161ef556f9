/** The connection and the topics on it, as they see each other. */
import type { ServerFrame } from '../protocol/server-frame.ts';
import type { RowcastError } from './error.ts';
import type { Member } from './member.ts';

/**
 * Of the connection: `idle` while nothing is wanted, `connecting`, `open`, `offline` until it is back, `ended` by the
 * service for good, `closed`.
 */
export type ClientStatus = 'idle' | 'connecting' | 'open' | 'offline' | 'ended' | 'closed';

/** What sources have of their connection. */
export interface Line {
  readonly status: ClientStatus;
  /** Why it is `ended` or `closed`. */
  readonly error: RowcastError | undefined;
  /** Sends while it is open. */
  send(frame: object): void;
  nextId(): string;
  /** The source has that canonical topic from now on. False where another one has it. */
  claim(source: Source, topic: string): boolean;
  /** Ends a source. */
  forget(source: Source): void;
  /** Finds a place for a member on another connection. */
  pass(topic: string, member: Member, since?: string): void;
}

export interface Source {
  readonly members: Set<Member>;
  /** Of its subscription on the wire. */
  readonly id: string | undefined;
  /** Takes a member, which begins at `since`, with the rows that it needs, or from now on. False where it cannot. */
  add(member: Member, since?: string): boolean;
  /** Does what is to be done next, if anything is and can be, and tells the status; `anew`, also what was denied. */
  advance(anew?: boolean): void;
  /** Ends it on the wire. */
  leave(): void;
  /** It is not on the wire any more. */
  lost(): void;
  /** Takes a frame that names its id, or its topic. */
  receive(frame: ServerFrame): void;
  /** Nothing came up to here. */
  moved(cursor: string): void;
}
