/**
 * The feed: the ordered stream of commits inside an instance.
 *
 * It owns the position. It promises that every commit after the position it began at is handed on once, each row's
 * versions in order; that the cursor says exactly what was handed on; and that it holds no more than a page of what
 * it reads. A NOTIFY is only the fast way to hear of a commit: the log is the truth.
 *
 * Commits that come inline wait while the log is being read, and from the loss of the listener until a read that
 * was begun after it listened again has come to its end: else they would overtake what that read brings.
 */
import type { Page } from './commit.ts';
import { createPager, readNotification } from './feed/pager.ts';
import { createReads, laterUnref } from './feed/reads.ts';
import { withoutReused } from './feed/restart.ts';
import { createWaitingRoom } from './feed/waiting.ts';
import type { Observe, ReadReason } from './observation.ts';
import { spellCursor } from './position/cursor.ts';
import { isPruned, type Position, partsIn, positionAt, withCommit, withReading } from './position.ts';
import type { LogReader, ReadStart } from './postgres/log.ts';

export type FeedState = 'starting' | 'catching up' | 'live' | 'stopped';

export interface Feed {
  /** Resolves when it is live. The listener's events must be handed in from before. */
  start(): Promise<void>;
  /** Hands nothing on any more. Resolves when a read under way has ended. */
  stop(): Promise<void>;
  /** The listener listens: again, or for the first time. */
  onConnected(): void;
  onLost(reason: string): void;
  onNotification(payload: string): void;
  /** Reads the log; resolves when the position has all that was committed before the call. */
  advance(why: ReadReason): Promise<void>;
  /** Something is in the log that no NOTIFY will tell of. */
  onTold(): void;
  /** How many commits it has handed on. */
  readonly commits: number;
  /** The cursor of whoever got all that was handed on. */
  cursor(): string;
  readonly position: Position;
  readonly stream: string;
  /** When the server was started last: ids of transactions may have been given anew then. */
  readonly restartedAtUs: bigint;
  readonly state: FeedState;
  /** Why it is not live. */
  readonly reason: string | null;
}

export interface FeedOptions {
  log: LogReader;
  /** Gets the commits, page by page; a large commit goes on when it resolves. */
  onPage(page: Page): void | Promise<void>;
  /** It begins, or begins anew, at a position with nothing before it. */
  onBegin(cursor: string): void;
  /** What lies between the last page and the position now cannot be had. */
  onGap(reason: 'cursor_expired' | 'stream_changed'): void;
  /** The same position is spelled in this way now. */
  onRespelled(cursor: string): void;
  onWatchingChanged(): void;
  observe: Observe;
  /** Milliseconds since the epoch. */
  now?: () => number;
  /** Calls back later; gives what cancels it. */
  later?: (ms: number, call: () => void) => () => void;
}

/** Beyond this many commits, or after this long, what came inline is folded into a fresh snapshot. */
const CONFIRM_COMMITS = 128;
const CONFIRM_MS = 1000;

export function createFeed(options: FeedOptions): Feed {
  const { log, onPage, onGap, onWatchingChanged, onBegin, onRespelled, observe } = options;
  const { now = Date.now, later = laterUnref } = options;
  const pager = createPager({ onPage, onWatchingChanged, observe, now });
  const waiting = createWaitingRoom(handOn);
  const reads = createReads({
    read,
    onFailed: (error) => listening && fallBehind(`the log cannot be read: ${error}`),
    onIdle: handOn,
    observe,
    later,
  });
  let state: FeedState = 'starting';
  let reason: string | null = 'starting';
  let position: Position | null = null;
  let stream = '';
  let restartedAtUs = 0n;
  let cursor: string | null = null;
  let listening = false;
  /** Counts the times that the listener came up: a read begun before does not make us live. */
  let session = 0;
  let cancelConfirm: (() => void) | null = null;
  let handedOn = 0;
  let onLive: (() => void) | null = null;

  const place = { position: current, moveTo, cursor: spell };

  function current(): Position {
    if (position === null) throw new Error('the feed has no position before it has started');
    return position;
  }

  function moveTo(next: Position): void {
    position = next;
    cursor = null;
  }

  function spell(): string {
    cursor ??= spellCursor(stream, current());
    return cursor;
  }

  async function read(why: ReadReason): Promise<void> {
    cancelConfirm?.();
    cancelConfirm = null;
    const begunIn = session;
    const begunAt = now();
    let commits = 0;
    const snapshot = await log.read(
      () => (position === null ? null : { position, first: position.partial ? [position.partial.xid] : [] }),
      begin,
      async (commit, seen) => {
        if (state === 'stopped') throw new Error('the feed was stopped');
        const resumed = current().partial?.xid === commit.xid;
        await pager.deliver(commit, {
          ...place,
          // What was broken off goes on first, out of the order of ids.
          whole: (base) =>
            resumed
              ? withCommit(base, commit.xid, commit.parts)
              : withReading(base, { snapshot: seen, id: commit.id }),
        });
        commits++;
        handedOn++;
        return true;
      },
    );
    moveTo(positionAt(snapshot));
    onRespelled(spell());
    observe({ type: 'feed.read', reason: why, commits, durationMs: now() - begunAt });
    if (listening && begunIn === session) becomeLive();
  }

  /** Where the log lacks what the position needs, it is left behind. */
  async function begin(start: ReadStart): Promise<boolean> {
    const moved = stream !== '' && start.stream !== stream;
    const pruned = position !== null && isPruned(position, start.prunedXid, start.snapshot);
    stream = start.stream;
    restartedAtUs = start.restartedAtUs;
    if (position !== null && !moved && !pruned) {
      moveTo(await withoutReused(position, start));
      return true;
    }
    moveTo(positionAt(start.snapshot));
    onBegin(spell());
    if (moved || pruned) onGap(moved ? 'stream_changed' : 'cursor_expired');
    return false;
  }

  function becomeLive(): void {
    if (state === 'live' || state === 'stopped') return;
    state = 'live';
    reason = null;
    observe({ type: 'feed.caught_up' });
    onLive?.();
  }

  function fallBehind(why: string): void {
    if (state === 'stopped') return;
    if (state === 'live') state = 'catching up';
    reason = why;
  }

  /** Hands on what came inline. */
  function handOn(): void {
    if (state !== 'live' || reads.busy) return;
    for (const commit of waiting.take()) {
      // After a long read many wait; the log gives the rest faster than positions grow.
      if (current().delivered.size >= CONFIRM_COMMITS) break;
      // The rest of a transaction of several parts is read from the log, together with a first part still here.
      if (partsIn(current(), commit.xid) > 0) continue;
      pager.deliverInline(commit, { ...place, whole: (base) => withCommit(base, commit.xid) });
      handedOn++;
    }
    const beyond = current().delivered.size;
    if (beyond >= CONFIRM_COMMITS) reads.want('confirm');
    else if (beyond > 0) cancelConfirm ??= later(CONFIRM_MS, () => reads.want('confirm'));
  }

  return {
    get position() {
      return current();
    },
    get stream() {
      return stream;
    },
    get restartedAtUs() {
      return restartedAtUs;
    },
    get commits() {
      return handedOn;
    },
    get state() {
      return state;
    },
    get reason() {
      return reason;
    },
    cursor: spell,
    start() {
      if (state === 'live') return Promise.resolve();
      return new Promise((resolve) => {
        onLive = resolve;
      });
    },
    async stop() {
      state = 'stopped';
      reason = 'stopped';
      cancelConfirm?.();
      await reads.stop();
    },
    advance: reads.whenDone,
    onTold: () => reads.want('told'),
    onConnected() {
      session++;
      listening = true;
      fallBehind('catching up with the log');
      reads.want('connected');
      reads.hurry();
    },
    onLost(why) {
      listening = false;
      fallBehind(`the listener is not connected: ${why}`);
    },
    onNotification(payload) {
      const commit = readNotification(payload, observe);
      if (commit === null) return;
      // Parts of it may still be missing where it came inline, none where a snapshot sees it.
      if (position !== null && partsIn(position, commit.xid) === Number.POSITIVE_INFINITY) return;
      if (commit.body !== null && waiting.add(commit)) return;
      // It is in the log, and so is all that waits: one read brings them in order.
      waiting.take();
      reads.want(commit.body === null ? 'large' : 'retry');
    },
  };
}
