/**
 * The replay: brings tracks from where they are to a recent moment, out of the log.
 *
 * Tracks that wait at the same time share one read, which begins at the least of their positions. One that does not
 * take what it is sent leaves the read, and comes back when it has.
 */
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { pagesOf } from '../feed/pages.ts';
import { withoutReused } from '../feed/restart.ts';
import {
  isPruned,
  leastOf,
  type Position,
  partsIn,
  positionAt,
  type Snapshot,
  withCommit,
  withReading,
} from '../position.ts';
import type { LoggedCommit, LogReader } from '../postgres/log.ts';
import type { Track } from './track.ts';

/** How a track left the replay: brought up to the moment of a read; not able to take more now; or beyond the log. */
export type ReplayEnd = 'caught up' | 'full' | 'pruned' | 'stream changed';

export interface Replay {
  /** Brings a track on. Rejects when the log cannot be read; the track stands where it is. */
  run(track: Track): Promise<ReplayEnd>;
}

interface Waiting {
  readonly track: Track;
  /** It has a part of a commit whose other parts it lacks: no read of others begins there. */
  readonly isApart?: boolean;
  resolve(end: ReplayEnd): void;
  reject(error: unknown): void;
}

/** What a client may have unread before it leaves the read. */
export const FULL_BYTES = 1024 * 1024;

/** How often a client that has enough to read is looked at, and how long at the most. */
const LOOK_MS = 20;
const LOOKS = 1_500;

export function createReplay(log: LogReader): Replay {
  let waiting: Waiting[] = [];
  let running = false;

  async function runAll(): Promise<void> {
    running = true;
    try {
      while (waiting.length > 0) await readFor(takeGroup());
    } finally {
      running = false;
    }
  }

  /** Those who go together: where one was broken off in the middle of a commit, others would get that out of order. */
  function takeGroup(): Waiting[] {
    const brokenIn = ({ track }: Waiting) => track.position.partial?.xid;
    const [first] = waiting;
    const fits = (one: Waiting) =>
      one === first ||
      (first !== undefined && !first.isApart && !one.isApart && brokenIn(one) === brokenIn(first));
    const group = waiting.filter(fits);
    waiting = waiting.filter((one) => !fits(one));
    return group;
  }

  async function readFor(group: Waiting[]): Promise<void> {
    const members = new Set(group);
    const leave = (member: Waiting, end: ReplayEnd) => {
      members.delete(member);
      member.resolve(end);
    };
    const first = group[0]?.track.position.partial?.xid;

    function setApart(member: Waiting): void {
      members.delete(member);
      waiting.push({ ...member, isApart: true });
    }

    /** Waits for those who have enough to read as long as that holds nobody up; else they leave. */
    async function pace(): Promise<void> {
      for (const member of [...members]) if (member.track.ended) leave(member, 'full');
      const full = () => [...members].filter(({ track }) => !track.ended && isFull(track));
      for (let n = 0; n < LOOKS && waiting.length === 0 && full().length === members.size; n++) {
        if (members.size === 0) return;
        await delay(LOOK_MS);
      }
      for (const member of full()) leave(member, 'full');
    }

    /** Hands a commit on to those who lack it, page by page. */
    async function offer(commit: LoggedCommit, seen: Snapshot): Promise<void> {
      const takers = [...members].filter(({ track: { position } }) => lacks(position, commit));
      for (const taker of takers) if (hasPart(taker.track.position, commit)) setApart(taker);
      const whole = (base: Position) =>
        commit.xid === first
          ? // It came out of the order of ids.
            withCommit(base, commit.xid, commit.parts)
          : withReading(base, { snapshot: seen, id: commit.id });
      for await (const page of pagesOf(commit)) {
        for (const taker of takers) if (members.has(taker)) taker.track.take(page, page.offset, whole);
        if (!page.last) await turn();
        await pace();
        if (members.size === 0) return;
      }
    }

    try {
      const snapshot = await log.read(
        () => ({
          position: startOf([...members].map(({ track }) => track.position)),
          first: first === undefined ? [] : [first],
        }),
        async (start) => {
          const { prunedXid, stream, snapshot: now } = start;
          for (const member of [...members]) {
            const { track } = member;
            if (track.stream !== stream) leave(member, 'stream changed');
            else if (isPruned(track.position, prunedXid, now)) leave(member, 'pruned');
            else track.moveTo(await withoutReused(track.position, start));
          }
          return members.size > 0;
        },
        async (commit, seen) => {
          await offer(commit, seen);
          return members.size > 0;
        },
      );
      for (const member of members) {
        member.track.moveTo(positionAt(snapshot));
        member.resolve('caught up');
      }
    } catch (error) {
      for (const member of members) member.reject(error);
    }
  }

  return {
    run(track) {
      return new Promise((resolve, reject) => {
        waiting.push({ track, resolve, reject });
        if (!running) void runAll();
      });
    },
  };
}

function isFull({ client }: Track): boolean {
  return client.bufferedBytes > FULL_BYTES;
}

/** Where a read for all of them begins. */
function startOf(positions: readonly Position[]): Position {
  const [only, ...others] = positions;
  return only !== undefined && others.length === 0 ? only : leastOf(positions);
}

/** Whether it has some of the parts that this commit brings. */
function hasPart(position: Position, { xid, id, skipParts }: LoggedCommit): boolean {
  return partsIn(position, xid, id) > skipParts;
}

function lacks(position: Position, { xid, id, parts }: LoggedCommit): boolean {
  return partsIn(position, xid, id) < parts;
}
