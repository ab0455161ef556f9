/**
 * The replay: brings tracks from where they are to a recent moment, out of the log.
 *
 * Tracks that wait at the same time share one read, which begins at the least of their positions. One that does not
 * take what it is sent leaves the read, and comes back when it has.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { pagesOf } from '../feed/pages.ts';
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
  resolve(end: ReplayEnd): void;
  reject(error: unknown): void;
}

/** What a client may have unread before it leaves the read. */
export const FULL_BYTES = 1024 * 1024;

export function createReplay(log: LogReader): Replay {
  let waiting: Waiting[] = [];
  let running = false;

  async function runAll(): Promise<void> {
    running = true;
    try {
      while (waiting.length > 0) {
        const group = waiting;
        waiting = [];
        await readFor(group);
      }
    } finally {
      running = false;
    }
  }

  async function readFor(group: Waiting[]): Promise<void> {
    const members = new Set(group);
    const leave = (member: Waiting, end: ReplayEnd) => {
      members.delete(member);
      member.resolve(end);
    };
    try {
      const snapshot = await log.read(
        () => ({
          position: leastOf([...members].map(({ track }) => track.position)),
          first: [...members].flatMap(({ track }) => track.position.partial?.xid ?? []),
        }),
        ({ prunedXid, stream, snapshot }) => {
          for (const member of [...members]) {
            if (member.track.stream !== stream) leave(member, 'stream changed');
            else if (isPruned(member.track.position, prunedXid, snapshot)) leave(member, 'pruned');
          }
          return members.size > 0;
        },
        async (commit, seen) => {
          await offer(commit, seen, members);
          for (const member of [...members]) {
            const { track } = member;
            if (track.ended || track.client.bufferedBytes > FULL_BYTES) leave(member, 'full');
          }
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

/** Hands a commit on to those who lack it, page by page. */
async function offer(commit: LoggedCommit, seen: Snapshot, members: ReadonlySet<Waiting>): Promise<void> {
  const tracks = [...members]
    .map(({ track }) => track)
    .filter(({ position }) => partsIn(position, commit.xid, commit.id) < commit.parts);
  const resumed = new Set(tracks.filter(({ position }) => position.partial?.xid === commit.xid));
  const wholeOf = (track: Track) => (base: Position) =>
    resumed.has(track)
      ? withCommit(base, commit.xid, commit.parts)
      : withReading(base, { snapshot: seen, id: commit.id });

  for await (const page of pagesOf(commit)) {
    for (const track of tracks) if (!track.ended) track.take(page, page.offset, wholeOf(track));
    if (!page.last) await turn();
  }
}
