/**
 * Leadership: which one of the instances leads, and the locks by which the leader mutes the writers' NOTIFYs.
 *
 * All of it is advisory locks of one session, so whatever ends the session frees them together: writers notify again,
 * and the next in line leads. It promises that `onElected` and `onDeposed` take turns, that an end is noticed within
 * check interval and deadline, by PostgreSQL too, and that nothing is left after `stop`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type Observe, reasonOf } from '../observation.ts';
import { backoff } from './backoff.ts';

/** What the leader can do about NOTIFYs; each rejects when the leadership is lost meanwhile. */
export interface Locks {
  /** Mutes: in effect from when PostgreSQL has the request, which is before it resolves. */
  mute(): Promise<void>;
  /** Writers that come to their end once it has resolved notify again. */
  unmute(): Promise<void>;
  /** Waits for all who did not notify. Resolves with false when it was aborted before. */
  settle(signal: AbortSignal): Promise<boolean>;
}

export interface Leadership {
  /** Begins to wait for the lead; again and again. */
  start(): void;
  /** Gives the lead up; resolves when no socket and no timer is left. */
  stop(): Promise<void>;
  readonly leading: boolean;
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

/** As `rowcast.must_notify` has them. */
const LOCKS = { lead: 3, mute: 4, barrier: 5 } as const;
type Lock = keyof typeof LOCKS;

const lock = (name: Lock) => `select pg_advisory_lock(hashtext('rowcast'), ${LOCKS[name]})`;
const unlock = (name: Lock) => `select pg_advisory_unlock(hashtext('rowcast'), ${LOCKS[name]})`;

/** A leader that is gone must not keep its locks: PostgreSQL looks after the connection too. It waits without limit. */
const SESSION = `
  select set_config(name, value, false) from (values
    ('tcp_keepalives_idle', '3'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '9000'), ('idle_session_timeout', '0'), ('statement_timeout', '0'), ('lock_timeout', '0'),
    ('transaction_timeout', '0')) wanted (name, value)
   where exists (select from pg_catalog.pg_settings s where s.name = wanted.name)`;

const QUERY_CANCELED = '57014';
const BREAK_AGAIN_MS = 100;

export function createLeadership(options: LeadershipOptions): Leadership {
  const { connectionString, applicationName, observe, checkIntervalMs = 3_000, deadlineMs = 4_000 } = options;
  const stopping = new AbortController();
  let session: Session | null = null;
  let running: Promise<void> | null = null;
  let leading = false;

  async function lead(): Promise<void> {
    const current = new Session(connectionString, applicationName, deadlineMs);
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

  function locksOf(current: Session): Locks {
    let muted: Promise<boolean> = Promise.resolve(false);

    /** Ends a wait: again and again, since what comes before it has begun is lost. */
    async function broken(waiting: Promise<boolean>): Promise<boolean> {
      let over = false;
      const done = waiting.finally(() => {
        over = true;
      });
      while (!over) {
        await options.pool.query('select pg_cancel_backend($1)', [current.backendPid]).catch(reasonOf);
        await Promise.race([done, sleep(BREAK_AGAIN_MS)]);
      }
      return done;
    }

    return {
      async mute() {
        muted = current.wait(lock('mute'));
        await muted;
      },
      async unmute() {
        const held = await (current.waiting ? broken(muted) : muted);
        muted = Promise.resolve(false);
        if (held) await current.answer(unlock('mute'));
      },
      async settle(signal) {
        const granted = current.wait(lock('barrier'));
        const onAbort = () => void broken(granted).catch(reasonOf);
        signal.addEventListener('abort', onAbort, { once: true });
        try {
          if (!(await granted)) return false;
          await current.answer(unlock('barrier'));
          return true;
        } finally {
          signal.removeEventListener('abort', onAbort);
        }
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
  };
}

/** One session, for one leadership at the most. */
class Session {
  readonly #client: pg.Client;
  readonly #deadlineMs: number;
  readonly #ended: Promise<never>;
  #fail: (error: Error) => void = () => undefined;
  #over = false;
  backendPid = 0;
  failure = 'it was given up';
  /** In a wait for a lock. */
  waiting = false;

  constructor(connectionString: string, applicationName: string, deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
    this.#client = new pg.Client({
      connectionString,
      application_name: applicationName,
      connectionTimeoutMillis: deadlineMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
    });
    this.#ended = new Promise((_, reject) => {
      this.#fail = reject;
    });
    // Whoever waits for something hears of it; nobody may.
    this.#ended.catch(reasonOf);
    this.#client.on('error', (error) => this.end(error));
    this.#client.on('end', () => this.end(new Error('the connection was closed')));
  }

  async open(): Promise<void> {
    await this.#orEnd(this.#client.connect());
    await this.answer(SESSION);
    const { rows } = await this.#orEnd(this.#client.query<{ pid: number }>('select pg_backend_pid() as pid'));
    this.backendPid = rows[0]?.pid ?? 0;
  }

  /** Waits for a lock for as long as it takes. False where the wait was ended. */
  async wait(sql: string): Promise<boolean> {
    this.waiting = true;
    try {
      await this.#orEnd(this.#client.query(sql));
      return true;
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === QUERY_CANCELED) return false;
      throw error;
    } finally {
      this.waiting = false;
    }
  }

  /** A query that waits for nobody. One that was meant to be ended before it is asked again. */
  async answer(sql: string): Promise<void> {
    const timer = setTimeout(
      () => this.end(new Error(`no answer within ${this.#deadlineMs} ms`)),
      this.#deadlineMs,
    );
    try {
      while (!(await this.wait(sql)));
    } finally {
      clearTimeout(timer);
    }
  }

  /** Rejects when the session has ended. */
  async watch(intervalMs: number): Promise<never> {
    for (;;) {
      await this.#orEnd(sleep(intervalMs));
      // Who waits for a lock gives no answer, and PostgreSQL watches the connection.
      if (!this.waiting) await this.answer('select 1');
    }
  }

  end(error?: Error): void {
    if (this.#over) return;
    this.#over = true;
    if (error !== undefined) this.failure = reasonOf(error);
    this.#fail(error ?? new Error(this.failure));
    // A peer that is silent would be waited for without end.
    this.#client.end().catch(reasonOf);
    this.#client.connection.stream.destroy();
  }

  #orEnd<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#ended]);
  }
}
