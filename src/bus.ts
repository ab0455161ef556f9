/**
 * The bus: how the other instances hear of what the leader's feed handed on.
 *
 * A port with two adapters. It promises to whoever hears by it, and is up, that each commit said is heard of, as
 * itself or as something to read, in the order in which it was said; that what was said while it was not up, or got
 * lost, is told as something to read; and that nobody hears what he said himself.
 */
import type { NotifiedCommit } from './feed/notification.ts';
import type { Snapshot } from './position.ts';

/** What the leader says. */
export type Word =
  /** A commit, as its feed handed it on; without a body it is to be read. */
  | { readonly kind: 'commit'; readonly commit: NotifiedCommit }
  /** All that this snapshot sees was said, or was there before the leader led. */
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot }
  /** What is watched is not what it was. */
  | { readonly kind: 'tables' }
  /** There is something to read that nobody was notified of. */
  | { readonly kind: 'read' };

/** What is done with what is heard. */
export interface Hearer {
  /** From now on it hears: again, or for the first time. What was said before is to be read, and looked at. */
  onUp(): void;
  onDown(reason: string): void;
  /** The payload of a NOTIFY, or one like it. `isAlone`: as is known, nothing came together with it. */
  onCommit(payload: string, isAlone?: boolean): void;
  onSnapshot(snapshot: Snapshot): void;
  /** What is watched may not be what it was. */
  onTables(): void;
  /** There is something to read. */
  onTold(): void;
}

export interface Bus {
  /** Begins to hear; again after `stop`. Rejects where no retry would help. */
  start(): Promise<void>;
  /** Hears nothing more; resolves when no socket and no timer is left. */
  stop(): Promise<void>;
  /** Hears, or as leader is heard. */
  readonly up: boolean;
  /** Why it is not up; null while it is. */
  readonly reason: string | null;
  /** Speaks from now on, and says all that the feed hands on. */
  lead(): void;
  resign(): void;
  /** Says it, as leader; resolves when whoever hears by this bus will hear it before anything later. */
  say(word: Word): Promise<void>;
}
