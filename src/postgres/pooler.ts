/**
 * What is between us and PostgreSQL: nothing, or a pooler, and in which mode.
 *
 * A pooler in transaction mode lends a session for one transaction, so a LISTEN is soon somebody else's. Two
 * connections show it: the second gets the session that the first has just used, or the first gets another one.
 */
import type pg from 'pg';
import { connect } from './connect.ts';

/** `session` may be LISTENed through; `transaction` may not. */
export type Pooler = 'none' | 'session' | 'transaction';

const DEADLINE_MS = 5_000;

/** Looks at what the address leads through. Throws a `StartError` where one cannot connect. */
export async function findPooler(
  url: string,
  setting: 'DATABASE_URL' | 'ROWCAST_LISTEN_URL',
): Promise<Pooler> {
  const options = { setting, applicationName: 'rowcast check', queryTimeoutMs: DEADLINE_MS };
  const one = await connect(url, options);
  try {
    const other = await connect(url, options);
    try {
      const first = await backendOf(one);
      // Open, so that a pooler cannot lend it to `one`.
      await other.query('begin');
      if ((await backendOf(other)) === first) return 'transaction';
      if ((await backendOf(one)) !== first) return 'transaction';
      // A pooler makes up the number by which a client cancels.
      return Reflect.get(one, 'processID') === first ? 'none' : 'session';
    } finally {
      await other.end();
    }
  } finally {
    await one.end();
  }
}

async function backendOf(client: pg.Client): Promise<number | undefined> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid;
}
