/**
 * What must hold of a database before an instance starts on it.
 *
 * Each fault becomes a `StartError`: one line that names what is wrong and says what to do.
 */
import pg from 'pg';
import { reasonOf } from '../observation.ts';
import { StartError } from '../start-error.ts';
import { missingMigrations } from './migrate.ts';

const MIN_VERSION = 130_000;
const CONNECT_MS = 5000;

/** Checks the database of a pool, and that the listener's connection keeps its session. Throws `StartError`. */
export async function checkDatabase(pool: pg.Pool, listenUrl: string): Promise<void> {
  const client = await pool.connect().catch((error: unknown) => {
    throw new StartError(`cannot connect to DATABASE_URL: ${reasonOf(error)}${hintFor(error)}`, {
      cause: error,
    });
  });
  try {
    const { rows } = await client.query<{ version: number; standby: boolean }>(
      `select current_setting('server_version_num')::int as version, pg_is_in_recovery() as standby`,
    );
    const [server] = rows;
    if (!server || server.version < MIN_VERSION) {
      throw new StartError(
        `the server is PostgreSQL ${Math.floor((server?.version ?? 0) / 10_000)}; rowcast needs 13 or later`,
      );
    }
    if (server.standby) {
      throw new StartError(
        'the server is a standby, where LISTEN cannot work; set DATABASE_URL to the primary',
      );
    }
    const missing = await missingMigrations(client);
    if (missing.length > 0) {
      throw new StartError(`the database lacks the migrations ${missing.join(', ')}; run: rowcast migrate`);
    }
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`the database cannot be used: ${reasonOf(error)}`, { cause: error });
  } finally {
    client.release();
  }
  await checkSession(listenUrl);
}

/** A transaction pooler gives each transaction whichever session is free: a LISTEN is lost in it. */
async function checkSession(listenUrl: string): Promise<void> {
  const listener = new pg.Client({
    connectionString: listenUrl,
    connectionTimeoutMillis: CONNECT_MS,
    application_name: 'rowcast check',
  });
  const other = new pg.Client({
    connectionString: listenUrl,
    connectionTimeoutMillis: CONNECT_MS,
    application_name: 'rowcast check',
  });
  // Errors come from the queries too.
  listener.on('error', () => undefined);
  other.on('error', () => undefined);
  try {
    await listener.connect();
    await other.connect();
    await listener.query('listen rowcast_check');
    // Keeps one session busy, so that a pooler has to show what it does.
    await other.query('begin');
    await other.query('select 1');
    const { rows } = await listener.query<{ channels: string[] }>(
      'select array(select pg_listening_channels()) as channels',
    );
    await other.query('rollback');
    if (!rows[0]?.channels.includes('rowcast_check')) throw new StartError(POOLER);
    await listener.query('unlisten rowcast_check');
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`cannot connect to ROWCAST_LISTEN_URL: ${reasonOf(error)}${hintFor(error)}`, {
      cause: error,
    });
  } finally {
    await Promise.allSettled([listener.end(), other.end()]);
  }
}

const POOLER =
  'LISTEN does not hold: a transaction pooler (PgBouncer) is in between; set ROWCAST_LISTEN_URL to a direct connection';

const HINTS: Readonly<Record<string, string>> = {
  ECONNREFUSED: '; is PostgreSQL running there, and are host and port right?',
  ENOTFOUND: '; is the host name right?',
  ETIMEDOUT: '; is the host reachable?',
  '28P01': '; are user and password right?',
  '28000': '; may this user connect from here (pg_hba.conf)?',
  '3D000': '; is the database name right?',
};

function hintFor(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  return HINTS[code] ?? '';
}
