/**
 * The seat: an instance's place among those that keep presence, held by a session with an advisory lock.
 *
 * When the session ends, however it ends, the others see the lock free and remove what the instance had written; and
 * so this one does with theirs, with each check of its session. It promises that everything is written by the session
 * that has the lock, so that nothing comes after it; that `onSeated` is called whenever what was written before may
 * not be what is there; and that nothing is left after `stop`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { type Observe, reasonOf } from '../observation.ts';
import { backoff } from './backoff.ts';
import { LockSession } from './lock-session.ts';
import { storing } from './storing.ts';

/** One session in one channel. */
export interface Place {
  readonly channel: string;
  readonly session: string;
}

export interface Attendance extends Place {
  readonly user: string | null;
  /** RFC 3339. */
  readonly since: string;
}

/**
 * Writes who came and who went; those who are there already, and those who are not, are left as they are. Rejects with
 * a `ProtocolError` of `bad_frame` where one of them cannot be stored.
 */
export type WriteAttendance = (joined: readonly Attendance[], gone: readonly Place[]) => Promise<void>;

export interface Seat {
  /** Resolves when it is seated, or the first try has failed; it goes on trying. */
  start(): Promise<void>;
  /** Rejects where there is no seat now, or with PostgreSQL's error. */
  readonly write: WriteAttendance;
  /** Gives the seat up; resolves when no socket and no timer is left. */
  stop(): Promise<void>;
}

export interface SeatOptions {
  /** A direct connection: the lock needs a session, so no transaction pooler. */
  connectionString: string;
  observe: Observe;
  /** Gets what was written under this seat before, and is there still. */
  onSeated(written: readonly Place[]): void;
  /** Between two looks at the others, in milliseconds. */
  checkIntervalMs?: number;
  /** Longest wait for an answer that waits for nobody. */
  deadlineMs?: number;
}

const ATTEND = 'select rowcast.attend($1, $2, $3) as written';
const WRITTEN = 'select channel, session from rowcast.presence where instance = $1';

export function createSeat(options: SeatOptions): Seat {
  const { connectionString, observe, onSeated, checkIntervalMs = 3_000, deadlineMs = 4_000 } = options;
  const stopping = new AbortController();
  let session: LockSession | null = null;
  let running: Promise<void> | null = null;
  /** Kept from one session to the next, so that what was written stays. */
  let number: number | null = null;
  let seated = false;

  async function sit(onFirst: () => void): Promise<void> {
    const current = new LockSession(connectionString, 'rowcast presence', deadlineMs);
    session = current;
    try {
      await current.open();
      // Of a session that is not known to be gone yet, PostgreSQL may hold the lock for a while.
      const rows = await current.ask<{ number: number }>('select rowcast.enroll($1) as number', [number]);
      const mine = rows?.[0]?.number;
      if (mine === undefined || stopping.signal.aborted) return;
      number = mine;
      const written = await current.answer<Place & pg.QueryResultRow>(WRITTEN, [mine]);
      seated = true;
      observe({ type: 'presence.seated', instance: mine });
      onSeated(written);
      onFirst();
      await current.watch(checkIntervalMs, `select rowcast.forget_absent(${mine})`);
    } finally {
      seated = false;
      current.end();
    }
  }

  async function run(onFirst: () => void): Promise<void> {
    for (let attempt = 1; !stopping.signal.aborted; attempt++) {
      const begunAt = performance.now();
      await sit(onFirst).catch((error: unknown) => {
        if (!stopping.signal.aborted) observe({ type: 'presence.lost', reason: reasonOf(error) });
      });
      onFirst();
      if (performance.now() - begunAt > checkIntervalMs) attempt = 1;
      await sleep(backoff(attempt), undefined, { signal: stopping.signal }).catch(reasonOf);
    }
  }

  return {
    start: () =>
      new Promise((resolve) => {
        running ??= run(resolve);
      }),
    async write(joined, gone) {
      if (session === null || !seated) throw new Error('the connection that presence needs is not there');
      const values = [number, JSON.stringify(joined), JSON.stringify(gone)];
      const rows = await storing('who is present', session.answer<{ written: boolean }>(ATTEND, values));
      if (rows[0]?.written === true) return;
      const error = new Error('the others took this instance for gone');
      session.end(error);
      throw error;
    },
    async stop() {
      stopping.abort();
      session?.end();
      await running;
    },
  };
}
