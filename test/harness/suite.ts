/**
 * What the whole run shares: the address of one PostgreSQL and the name of the
 * template database. The setup says it in the environment, which the workers inherit.
 */
import pg from 'pg';

/** The shared server: where to create databases, and from what. */
export interface Suite {
  adminUrl: string;
  template: string;
  /** Begins the name of every database that a test creates. */
  prefix: string;
}

const ADMIN_URL = 'ROWCAST_TEST_ADMIN_URL';
const RUN = 'ROWCAST_TEST_RUN';

/** Tells the workers; `run` sets this run apart from others on the same server. */
export function announceSuite(adminUrl: string, run: string): Suite {
  process.env[ADMIN_URL] = adminUrl;
  process.env[RUN] = run;
  return theSuite();
}

/** What the setup told. */
export function theSuite(): Suite {
  const adminUrl = process.env[ADMIN_URL];
  const run = process.env[RUN];
  if (adminUrl === undefined || run === undefined) throw new Error('the global setup has not run');
  return { adminUrl, template: `rowcast_template_${run}`, prefix: `rowcast_test_${run}_` };
}

/** The address of another database on the same server. */
export function urlOf(database: string, adminUrl: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** Gives the function a connection of its own and ends it afterwards. */
export async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** The major version of the shared server. */
export function serverMajor(): Promise<number> {
  return withClient(theSuite().adminUrl, async (client) => {
    const { rows } = await client.query<{ major: number }>(
      `select current_setting('server_version_num')::int / 10000 as major`,
    );
    return rows[0]?.major ?? Number.NaN;
  });
}
