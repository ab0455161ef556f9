/**
 * The feed: the ordered stream of commits inside an instance.
 *
 * It owns the position. It promises that every commit after it began is handed on once, and the latest from before
 * are recalled, each row's versions in order; that the cursor says exactly what was handed on; and that it holds no
 * more than a page of what it reads. A NOTIFY is only the fast way to hear of a commit: the log is the truth.
 *
 * Commits that come inline wait while the log is being read, and from the loss of the listener until a read that
 * was begun after it listened again has come to its end: else they would overtake what that read brings.
 */
import type { Word } from './bus.ts';
import type { Page } from './commit.ts';
import { createBookmark } from './feed/bookmark.ts';
import { createConfirmation, folded } from './feed/confirm.ts';
import { createInline } from './feed/inline.ts';
import { createPager, createRecaller } from './feed/pager.ts';
import { createReads, laterUnref } from './feed/reads.ts';
import type { Observe, ReadReason } from './observation.ts';
import { type Position, type Snapshot, withCommit, withReading } from './position.ts';
import type { LoggedCommit, LogReader } from './postgres/log.ts';

export type FeedState = 'starting' | 'catching up' | 'live' | 'stopped';

export interface Feed {
  /** Resolves when it is live. The listener's events must be handed in from before. */
  start(): Promise<void>;
  /** Hands nothing on any more. Resolves when a read under way has ended. */
  stop(): Promise<void>;
  /** The listener listens: again, or for the first time. */
  onConnected(): void;
  onLost(reason: string): void;
  /** `isAlone`: as is known, nothing came together with it. */
  onNotification(payload: string, isAlone?: boolean): void;
  /** All that this snapshot sees was notified of, since a read that is over: where it can, it takes it for a read. */
  onSnapshot(snapshot: Snapshot): void;
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
  /** Gets the latest of the commits from before it began, which who comes back may lack; nobody is here yet. */
  onRecalled(page: Page): void;
  /** What lies between the last page and the position now cannot be had. */
  onGap(reason: 'cursor_expired' | 'stream_changed'): void;
  /** The same position is spelled in this way now. */
  onRespelled(cursor: string): void;
  /** Who may see what is another thing now: whatever is committed after it waits until this resolves. */
  onWatchingChanged(): Promise<void>;
  /** An instance has told all of them something, as JSON. */
  onAnnounced(what: string): void;
  /** Gets what was handed on, in order, and each snapshot of which all was. */
  say?: (word: Word) => void;
  /** Whether `onSnapshot` is called often: then it reads only where it must. */
  isToldSnapshots?: () => boolean;
  observe: Observe;
  /** Does what the commits need not wait for. */
  afterwards?: (work: () => void) => void;
  /** Milliseconds since the epoch. */
  now?: () => number;
  /** Calls back later; gives what cancels it. */
  later?: (ms: number, call: () => void) => () => void;
}

export function createFeed(options: FeedOptions): Feed {
  const { log, onPage, onGap, onWatchingChanged, onAnnounced, onBegin, onRespelled, observe } = options;
  const { now = Date.now, later = laterUnref, afterwards = (work) => work() } = options;
  const { say = () => {}, isToldSnapshots = () => false } = options;
  const place = createBookmark({ onBegin, onGap });
  const pager = createPager({ place, onPage, onWatchingChanged, onAnnounced, observe, afterwards, now });
  const recaller = createRecaller({ place, onPage: options.onRecalled, now });
  const reads = createReads({
    read,
    onFailed: (error) => listening && fallBehind(`the log cannot be read: ${error}`),
    onIdle: () => inline.handOn(),
    observe,
    later,
  });
  const confirmation = createConfirmation({
    want: () => reads.want('confirm'),
    isTold: isToldSnapshots,
    later,
  });
  const inline = createInline({
    place,
    pager,
    reads,
    isLive: () => state === 'live',
    onHandedOn(commit) {
      handedOn++;
      afterwards(() => {
        say({ kind: 'commit', commit });
        confirmation.after(place.position().delivered.size);
      });
    },
    observe,
  });
  let state: FeedState = 'starting';
  let reason: string | null = 'starting';
  let listening = false;
  /** Counts the times that the listener came up: a read begun before does not make us live. */
  let session = 0;
  let handedOn = 0;
  let onLive: (() => void) | null = null;

  async function read(why: ReadReason): Promise<void> {
    confirmation.cancel();
    const begunIn = session;
    const begunAt = now();
    let commits = 0;
    const handOn = (commit: LoggedCommit) => {
      if (place.recalling) return true;
      commits++;
      handedOn++;
      say({ kind: 'commit', commit });
      return true;
    };
    const snapshot = await log.read(
      () => {
        const { known } = place;
        return known && { position: known, first: known.partial ? [known.partial.xid] : [] };
      },
      place.begin,
      (commit, seen) => {
        if (state === 'stopped') throw new Error('the feed was stopped');
        const resumed = place.position().partial?.xid === commit.xid;
        // What was broken off goes on first, out of the order of ids.
        const taken = (place.recalling ? recaller : pager).deliver(commit, (base) =>
          resumed
            ? withCommit(base, commit.xid, commit.parts)
            : withReading(base, { snapshot: seen, id: commit.id }),
        );
        // Mostly in this turn.
        return taken === undefined ? handOn(commit) : taken.then(() => handOn(commit));
      },
    );
    place.arriveAt(snapshot);
    confirmation.cancel();
    onRespelled(place.cursor());
    say({ kind: 'snapshot', snapshot });
    observe({ type: 'feed.read', reason: why, commits, durationMs: now() - begunAt });
    if (listening && begunIn === session) becomeLive();
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

  return {
    get position() {
      return place.position();
    },
    get stream() {
      return place.stream;
    },
    get restartedAtUs() {
      return place.restartedAtUs;
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
    cursor: place.cursor,
    start() {
      if (state === 'live') return Promise.resolve();
      return new Promise((resolve) => {
        onLive = resolve;
      });
    },
    async stop() {
      state = 'stopped';
      reason = 'stopped';
      confirmation.cancel();
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
    onNotification: inline.onNotification,
    onSnapshot(snapshot) {
      // What came before it, and waits.
      inline.handOn();
      if (state !== 'live' || reads.busy) return;
      const next = folded(place.position(), snapshot);
      if (next === null) return;
      place.moveTo(next);
      if (next.delivered.size === 0) confirmation.cancel();
      onRespelled(place.cursor());
    },
  };
}
