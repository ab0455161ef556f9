/**
 * Leadership: which one of the instances leads, and the locks by which the leader mutes the writers' NOTIFYs.
 *
 * All of it is advisory locks of one session, so whatever ends the session frees them together: writers notify again,
 * and the next in line leads. It promises that `onElected` and `onDeposed` take turns, that an end is noticed within
 * check interval and deadline, by PostgreSQL too, and that nothing is left after `stop`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { type Observe, reasonOf } from '../observation.ts';
import { backoff } from './backoff.ts';
import { LockSession } from './lock-session.ts';

/** What the leader does about NOTIFYs; each rejects when the lead is lost meanwhile. */
export interface Locks {
  /** How many wait, for each other, to NOTIFY. */
  crowd(): Promise<number>;
  /** Mutes: in effect from when PostgreSQL has the request, which is before it resolves. */
  mute(): Promise<void>;
  /**
   * Waits for everybody who may have been muted, calls `read`, and calms: from then on NOTIFYs carry the changes.
   * Resolves with false where it was aborted before; then all is as it was.
   */
  calm(signal: AbortSignal, read: () => Promise<void>): Promise<boolean>;
}

export interface Leadership {
  /** Begins to wait for the lead; again and again. */
  start(): void;
  /** Gives the lead up; resolves when no socket and no timer is left. */
  stop(): Promise<void>;
  readonly leading: boolean;
  /** Ends the session of another leader, which does not do its part. */
  unseat(pid: number): void;
}

export interface LeadershipOptions {
  /** A direct connection: the locks need a session, so no transaction pooler. */
  connectionString: string;
  applicationName: string;
  /** Where a wait can be ended from. */
  pool: Pick<pg.Pool, 'query'>;
  observe: Observe;
  onElected(locks: Locks): void;
  onDeposed(): void;
  /** Pause between two checks of a session that leads, in milliseconds. */
  checkIntervalMs?: number;
  /** Longest wait for an answer that waits for nobody. */
  deadlineMs?: number;
}

/** As `rowcast.is_calm` and `rowcast.tell_to_read` have them. */
const LOCKS = { lead: 3, mute: 4, barrier: 5, calm: 6 } as const;
type Lock = keyof typeof LOCKS;

const lock = (name: Lock) => `select pg_advisory_lock(hashtext('rowcast'), ${LOCKS[name]})`;
const unlock = (name: Lock) => `select pg_advisory_unlock(hashtext('rowcast'), ${LOCKS[name]})`;

/** The lock that PostgreSQL takes for a NOTIFY: that of database 0. */
const CROWD = `select count(*)::int as waiting from pg_locks
   where locktype = 'object' and database = 0 and classid = 'pg_database'::regclass and objid = 0 and not granted`;

const BREAK_AGAIN_MS = 100;

export function createLeadership(options: LeadershipOptions): Leadership {
  const { connectionString, applicationName, observe, checkIntervalMs = 3_000, deadlineMs = 4_000 } = options;
  const stopping = new AbortController();
  let session: LockSession | null = null;
  let running: Promise<void> | null = null;
  let leading = false;

  async function lead(): Promise<void> {
    const current = new LockSession(connectionString, applicationName, deadlineMs);
    session = current;
    try {
      await current.open();
      await current.wait(lock('lead'));
      if (stopping.signal.aborted) return;
      leading = true;
      observe({ type: 'leader.elected' });
      options.onElected(locksOf(current));
      await current.watch(checkIntervalMs);
    } finally {
      current.end();
      if (leading) {
        leading = false;
        observe({ type: 'leader.deposed', reason: current.failure });
        options.onDeposed();
      }
    }
  }

  function locksOf(current: LockSession): Locks {
    let muting: Promise<boolean> | null = null;
    const held = { mute: false, calm: false };

    /** Ends a wait: again and again, since what comes before it has begun is lost. */
    async function broken(waiting: Promise<boolean>): Promise<boolean> {
      let over = false;
      const done = waiting.finally(() => {
        over = true;
      });
      // It may fail while nobody waits for it.
      done.catch(reasonOf);
      while (!over) {
        await options.pool.query('select pg_cancel_backend($1)', [current.backendPid]).catch(reasonOf);
        await Promise.race([done, sleep(BREAK_AGAIN_MS)]);
      }
      return done;
    }

    async function giveBack(name: 'mute' | 'calm'): Promise<void> {
      if (held[name]) await current.answer(unlock(name));
      held[name] = false;
    }

    return {
      async crowd() {
        const { rows } = await options.pool.query<{ waiting: number }>(CROWD);
        return rows[0]?.waiting ?? 0;
      },
      async mute() {
        if (!held.mute) {
          muting = current.wait(lock('mute'));
          held.mute = await muting;
          muting = null;
        }
        // Nobody has ended without a NOTIFY as long as this was held.
        if (held.mute) await giveBack('calm');
      },
      async calm(signal, read) {
        if (muting !== null) await broken(muting);
        const granted = current.wait(lock('barrier'));
        const onAbort = () => void broken(granted).catch(reasonOf);
        signal.addEventListener('abort', onAbort, { once: true });
        try {
          if (!(await granted)) return false;
        } finally {
          signal.removeEventListener('abort', onAbort);
        }
        try {
          // Whoever was muted is through; whoever comes meanwhile is told to be read.
          await read();
          await current.answer(lock('calm'));
          held.calm = true;
          await giveBack('mute');
        } finally {
          await current.answer(unlock('barrier'));
        }
        return true;
      },
    };
  }

  async function run(): Promise<void> {
    for (let attempt = 1; !stopping.signal.aborted; attempt++) {
      const begunAt = performance.now();
      await lead().catch((error: unknown) => {
        if (!stopping.signal.aborted) observe({ type: 'leader.lost', reason: reasonOf(error) });
      });
      if (performance.now() - begunAt > checkIntervalMs) attempt = 1;
      await sleep(backoff(attempt), undefined, { signal: stopping.signal }).catch(reasonOf);
    }
  }

  return {
    start() {
      running ??= run();
    },
    async stop() {
      stopping.abort();
      session?.end();
      await running;
    },
    get leading() {
      return leading;
    },
    unseat(pid) {
      if (leading) return;
      observe({ type: 'leader.frozen', pid });
      options.pool.query('select pg_terminate_backend($1)', [pid]).catch(reasonOf);
    },
  };
}
