/**
 * A session for advisory locks: it waits for them without limit, is known to be gone soon, by either side, and ends
 * once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { reasonOf } from '../observation.ts';

/** Who is gone must not keep his locks: PostgreSQL looks after the connection too. */
const SESSION = `
  select set_config(name, value, false) from (values
    ('tcp_keepalives_idle', '3'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '9000'), ('idle_session_timeout', '0'), ('statement_timeout', '0'), ('lock_timeout', '0'),
    ('transaction_timeout', '0')) wanted (name, value)
   where exists (select from pg_catalog.pg_settings s where s.name = wanted.name)`;

const QUERY_CANCELED = '57014';

export class LockSession {
  readonly #client: pg.Client;
  readonly #deadlineMs: number;
  readonly #ended: Promise<never>;
  #fail: (error: Error) => void = () => undefined;
  readonly #gone = new AbortController();
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

  /** Rows of a query that waits for a lock for as long as it takes. Null where the wait was ended. */
  async ask<R extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<R[] | null> {
    this.waiting = true;
    try {
      return (await this.#orEnd(this.#client.query<R>(sql, values))).rows;
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === QUERY_CANCELED) return null;
      throw error;
    } finally {
      this.waiting = false;
    }
  }

  /** Waits for a lock for as long as it takes. False where the wait was ended. */
  async wait(sql: string): Promise<boolean> {
    return (await this.ask(sql)) !== null;
  }

  /** Rows of a query that waits for nobody. One that was meant to be ended before it is asked again. */
  async answer<R extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]> {
    const timer = setTimeout(
      () => this.end(new Error(`no answer within ${this.#deadlineMs} ms`)),
      this.#deadlineMs,
    );
    try {
      for (;;) {
        const rows = await this.ask<R>(sql, values);
        if (rows !== null) return rows;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks `sql` again and again, which waits for nobody. Rejects when the session has ended. */
  async watch(intervalMs: number, sql = 'select 1'): Promise<never> {
    for (;;) {
      await this.#orEnd(sleep(intervalMs, undefined, { signal: this.#gone.signal }));
      // Who waits for a lock gives no answer, and PostgreSQL watches the connection.
      if (!this.waiting) await this.answer(sql);
    }
  }

  end(error?: Error): void {
    if (this.#gone.signal.aborted) return;
    if (error !== undefined) this.failure = reasonOf(error);
    this.#fail(error ?? new Error(this.failure));
    this.#gone.abort();
    // A peer that is silent would be waited for without end.
    this.#client.end().catch(reasonOf);
    this.#client.connection.stream.destroy();
  }

  #orEnd<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#ended]);
  }
}
