/** The bookmark: the position of the feed, in which stream it is, and how its cursor is spelled. */
import { spellCursor } from '../position/cursor.ts';
import { cutAt, isPruned, type Position, positionAt, type Snapshot } from '../position.ts';
import type { ReadStart } from '../postgres/read-start.ts';
import { withoutReused } from './restart.ts';

export interface Bookmark {
  /** Null before the first read. */
  readonly known: Position | null;
  /** The same; throws before the first read. */
  position(): Position;
  moveTo(next: Position): void;
  /** A read has come to its end: all that its snapshot sees was handed on. */
  arriveAt(snapshot: Snapshot): void;
  /** What is read was committed before it began: the latest commits, which it goes back to at first. */
  readonly recalling: boolean;
  /** The cursor of whoever got all up to here. */
  cursor(): string;
  readonly stream: string;
  readonly restartedAtUs: bigint;
  /** A read begins. False where it begins anew instead, with nothing to read: the log lacks what the position needs, or it is another one. */
  begin(start: ReadStart): Promise<boolean>;
}

export interface BookmarkOptions {
  /** It begins, or begins anew, at a position with nothing before it. */
  onBegin(cursor: string): void;
  /** What lies between the last page and the position now cannot be had. */
  onGap(reason: 'cursor_expired' | 'stream_changed'): void;
}

export function createBookmark({ onBegin, onGap }: BookmarkOptions): Bookmark {
  let known: Position | null = null;
  let spelled: string | null = null;
  let stream = '';
  let restartedAtUs = 0n;
  let recalling = false;

  function position(): Position {
    if (known === null) throw new Error('the feed has no position before it has started');
    return known;
  }

  function moveTo(next: Position): void {
    known = next;
    spelled = null;
  }

  function cursor(): string {
    spelled ??= spellCursor(stream, position());
    return spelled;
  }

  /** Where it begins: before the latest commits. */
  async function beginning({ snapshot, prunedXid, tooFar }: ReadStart): Promise<Snapshot> {
    const before = (await tooFar()) ?? 0n;
    const from = (before > prunedXid ? before : prunedXid) + 1n;
    return from < snapshot.xmax ? cutAt(snapshot, from) : snapshot;
  }

  return {
    get known() {
      return known;
    },
    get recalling() {
      return recalling;
    },
    get stream() {
      return stream;
    },
    get restartedAtUs() {
      return restartedAtUs;
    },
    position,
    moveTo,
    cursor,
    arriveAt(snapshot) {
      moveTo(positionAt(snapshot));
      recalling = false;
    },
    async begin(start) {
      const moved = stream !== '' && start.stream !== stream;
      // Nobody got what a first read brought that was broken off.
      const isFirst = known === null || recalling;
      const pruned = known !== null && isPruned(known, start.prunedXid, start.snapshot);
      stream = start.stream;
      restartedAtUs = start.restartedAtUs;
      if (known !== null && !isFirst && !moved && !pruned) {
        moveTo(await withoutReused(known, start));
        return true;
      }
      const from = isFirst ? await beginning(start) : start.snapshot;
      recalling = from !== start.snapshot;
      moveTo(positionAt(from));
      onBegin(cursor());
      if (!isFirst && (moved || pruned)) onGap(moved ? 'stream_changed' : 'cursor_expired');
      return recalling;
    },
  };
}
