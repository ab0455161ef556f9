/**
 * A database of one's own for each test file, cloned from the template.
 *
 * Promises that nothing stays behind: dropping it fails when somebody is still
 * connected.
 */
import pg from 'pg';
import { until } from './facts.ts';
import { theSuite, urlOf, withClient } from './suite.ts';

/** A database with the migrations applied, and nothing else in it. */
export interface Database {
  readonly url: string;
  /** One query, on a connection that the database owns. */
  query<Row extends pg.QueryResultRow = Record<string, unknown>>(
    sql: string,
    params?: unknown[],
  ): Promise<pg.QueryResult<Row>>;
  /** A connection of the caller's, who ends it. */
  client(): Promise<pg.Client>;
  /** Removes the database; fails if a connection to it was left open. */
  drop(): Promise<void>;
}

const LEAK_TIMEOUT_MS = 5_000;
let created = 0;

/** Clones the template. */
export async function createDatabase(): Promise<Database> {
  const { adminUrl, template, prefix } = theSuite();
  const name = `${prefix}${process.pid}_${++created}`;
  await withClient(adminUrl, (client) => client.query(`create database ${name} template ${template}`));
  const url = urlOf(name, adminUrl);
  const { query, client, end } = queriesOf(url);

  async function drop(): Promise<void> {
    await end();
    await withClient(adminUrl, async (admin) => {
      try {
        await noneConnected(admin, name);
      } finally {
        await admin.query(`drop database ${name} with (force)`);
      }
    });
  }

  return { url, query, client, drop };
}

/** Queries on a pool, which replaces a connection that a test cut. */
export function queriesOf(url: string): Pick<Database, 'query' | 'client'> & { end(): Promise<void> } {
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  // A test that cuts connections cuts idle ones too: the next query takes a new one.
  pool.on('error', () => undefined);
  return {
    query: (sql, params) => pool.query(sql, params),
    async client() {
      const own = new pg.Client({ connectionString: url });
      await own.connect();
      return own;
    },
    end: () => pool.end(),
  };
}

async function noneConnected(admin: pg.Client, name: string): Promise<void> {
  let left = '';
  // Backends take a moment to go after their client went.
  await until(
    async () => {
      const { rows } = await admin.query<{ who: string }>(
        `select format('%s (%s: %s)', application_name, state, left(query, 80)) as who
         from pg_stat_activity where datname = $1 and backend_type = 'client backend'`,
        [name],
      );
      left = rows.map(({ who }) => who).join(', ');
      return rows.length === 0 || undefined;
    },
    { timeoutMs: LEAK_TIMEOUT_MS, what: 'all connections closed' },
  ).catch((cause: Error) => {
    throw new Error(`connections to ${name} were left open: ${left}`, { cause });
  });
}
