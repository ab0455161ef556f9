/**
 * The leader: the one instance that takes NOTIFY out of the writers' way where it hurts.
 *
 * Every NOTIFY holds a lock of all of them until its commit is flushed. While they come thick, the leader mutes them
 * and reads the log instead, again and again. When there is little to read, it waits for those who were muted, reads
 * once more, and calms: only then NOTIFYs carry changes again, else they would overtake what was muted. It promises
 * that whatever was committed without a NOTIFY is read by it soon after, or else by the next leader, and that the
 * others are told of what it read before they are notified of anything that came after it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Observe, reasonOf } from './observation.ts';
import type { Locks } from './postgres/leadership.ts';

/** When to mute and when to stop. */
export interface Pace {
  /** Commits a second, looked at every `windowMs`, above which NOTIFYs are muted, */
  readonly muteAbove: number;
  /** where they come from so many backends: fewer hardly wait for each other. */
  readonly backends: number;
  /** Above which they are muted however few send them: each wakes everyone who listens. */
  readonly muteAllAbove: number;
  /** So many that wait for each other are muted at any rate: where the disk is slow, they get no further. */
  readonly crowd: number;
  /** Below which, for `calmMs`, they are not any more. */
  readonly unmuteBelow: number;
  readonly windowMs: number;
  readonly calmMs: number;
  /** Between two reads while muted. */
  readonly pauseMs: number;
}

const RETRY_MS = 100;
const CALMING_MS = 100;

/**
 * NOTIFYs that take turns were measured at 700 a second where a flush takes 1.2 ms, and at 250 on a busy disk: a rate
 * alone does not tell a calm database from a slow one. A longer pause reads less often, and clients wait for it.
 */
export const PACE: Pace = {
  muteAbove: 300,
  backends: 3,
  muteAllAbove: 1_000,
  crowd: 2,
  unmuteBelow: 200,
  windowMs: 100,
  calmMs: 300,
  pauseMs: 10,
};

export interface Leader {
  onElected(locks: Locks): void;
  onDeposed(): void;
  /** A commit was heard of by its NOTIFY, which that backend sent. */
  onNotified(backend: number): void;
  readonly muting: boolean;
}

export interface LeaderOptions {
  feed: {
    /** Reads the log; resolves when all that was committed before the call was handed on. */
    advance(why: 'muted' | 'calming' | 'calm'): Promise<void>;
    /** How many commits it has handed on. */
    readonly commits: number;
  };
  /** There was something to read that nobody was notified of. Resolves when the others are told. */
  onRead(): Promise<void>;
  observe: Observe;
  pace?: Pace;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
}

export function createLeader(options: LeaderOptions): Leader {
  const { feed, onRead, observe, pace = PACE, now = () => performance.now() } = options;
  const inWindowOf = (perSecond: number) => (perSecond * pace.windowMs) / 1000;
  let term: AbortController | null = null;
  let locksOfTerm: Locks | null = null;
  let leading: Promise<void> = Promise.resolve();
  let muting = false;
  let windowBegunAt = Number.NEGATIVE_INFINITY;
  let inWindow = 0;
  const backends = new Set<number>();
  /** What the others were told of. */
  let told = 0;
  /** Aborted when NOTIFYs come thick. */
  let quiet = new AbortController();

  function onNotified(backend: number): void {
    if (term === null || muting) return;
    const at = now();
    if (at - windowBegunAt > pace.windowMs) {
      windowBegunAt = at;
      inWindow = 0;
      backends.clear();
    }
    const known = backends.size;
    backends.add(backend);
    inWindow++;
    const areFew = backends.size < pace.backends;
    if (inWindow > inWindowOf(areFew ? pace.muteAllAbove : pace.muteAbove)) quiet.abort();
    // Once a window.
    else if (!areFew && known < pace.backends) void lookForCrowd(quiet);
  }

  async function lookForCrowd(current: AbortController): Promise<void> {
    // Where that fails, so does the rest, and is told.
    const waiting = await locksOfTerm?.crowd().catch(() => 0);
    if (waiting !== undefined && waiting >= pace.crowd) current.abort();
  }

  async function lead(locks: Locks, ended: AbortSignal): Promise<void> {
    // Others may have led before, and muted.
    let isCalm = false;
    while (!ended.aborted) {
      try {
        if (quiet.signal.aborted) {
          isCalm = false;
          await mute(locks, ended);
        } else if (isCalm) {
          await either(quiet.signal, ended);
        } else {
          isCalm = await calm(locks);
        }
      } catch (error) {
        isCalm = false;
        await sleep(RETRY_MS);
        // With its session gone, so is the lead, which is told by then.
        if (!ended.aborted) observe({ type: 'leader.failed', error: reasonOf(error) });
      }
    }
  }

  /** Mutes the writers, and reads for as long as there is much to read. */
  async function mute(locks: Locks, ended: AbortSignal): Promise<void> {
    muting = true;
    observe({ type: 'leader.muted' });
    const begunAt = now();
    const before = feed.commits;
    // In effect before it is granted, which may take as long as the longest of those who notified.
    const granted = locks.mute();
    granted.catch(reasonOf);
    try {
      await readOn(ended);
    } finally {
      muting = false;
      quiet = new AbortController();
      inWindow = 0;
      observe({ type: 'leader.unmuted', commits: feed.commits - before, durationMs: now() - begunAt });
    }
  }

  /** False where NOTIFYs came thick before it was calm. */
  async function calm(locks: Locks): Promise<boolean> {
    let waiting = true;
    const calmed = locks
      .calm(quiet.signal, () => read('calm'))
      .finally(() => {
        waiting = false;
      });
    // Somebody who was muted may take long to end, and others who were are through already.
    while (waiting) {
      await Promise.race([calmed, sleep(CALMING_MS)]);
      if (waiting) await read('calming');
    }
    return calmed;
  }

  async function readOn(ended: AbortSignal): Promise<void> {
    let calmSince = Number.POSITIVE_INFINITY;
    let windowAt = now();
    let windowCommits = feed.commits;
    while (!ended.aborted) {
      await read('muted');
      const at = now();
      if (at - windowAt >= pace.windowMs) {
        const rate = ((feed.commits - windowCommits) * 1000) / (at - windowAt);
        calmSince = rate < pace.unmuteBelow ? Math.min(calmSince, windowAt) : Number.POSITIVE_INFINITY;
        windowAt = at;
        windowCommits = feed.commits;
        if (at - calmSince >= pace.calmMs) return;
      }
      await sleep(pace.pauseMs);
    }
  }

  async function read(why: 'muted' | 'calming' | 'calm'): Promise<void> {
    await feed.advance(why);
    // Others may lack what this instance came by in another way.
    if (why !== 'calm' && feed.commits === told) return;
    told = feed.commits;
    const heard = onRead();
    if (why === 'calm') await heard;
  }

  return {
    onElected(locks) {
      const current = new AbortController();
      term = current;
      locksOfTerm = locks;
      quiet = new AbortController();
      // One term after the other: the last read of the one before may still wait for the database.
      leading = leading.then(() => lead(locks, current.signal));
    },
    onDeposed() {
      term?.abort();
      term = null;
      locksOfTerm = null;
    },
    onNotified,
    get muting() {
      return muting;
    },
  };
}

/** Resolves when one of them is aborted. */
async function either(one: AbortSignal, other: AbortSignal): Promise<void> {
  const any = AbortSignal.any([one, other]);
  if (any.aborted) return;
  await new Promise((resolve) => any.addEventListener('abort', resolve, { once: true }));
}
