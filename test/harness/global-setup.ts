/**
 * One PostgreSQL for the whole run, with a template database that holds the
 * migrations. `DATABASE_URL` names a server to use; without it an embedded one is
 * started, which forgets nothing it should remember within a run but would not
 * survive a power cut.
 */
import { type Postgres, startPostgres } from '../../src/dev/postgres.ts';
import { applyMigrations } from './migrations.ts';
import { announceSuite, theSuite, urlOf, withClient } from './suite.ts';

let embedded: Postgres | undefined;

export default async function setUp(): Promise<void> {
  const { DATABASE_URL } = process.env;
  let adminUrl = DATABASE_URL;
  if (!adminUrl) {
    embedded = await startPostgres({ settings: { fsync: 'off', max_connections: '200' } });
    adminUrl = embedded.url;
  }
  const { template } = announceSuite(adminUrl, String(process.pid));
  try {
    await withClient(adminUrl, (client) => client.query(`create database ${template} template template0`));
    await applyMigrations(urlOf(template, adminUrl));
  } catch (error) {
    await tearDown();
    throw error;
  }
}

/** Removes what the run made: the databases on a server of somebody's, or the embedded server whole. */
export async function tearDown(): Promise<void> {
  if (embedded !== undefined) {
    await embedded.dispose();
    return;
  }
  const { adminUrl, template, prefix } = theSuite();
  await withClient(adminUrl, async (client) => {
    const left = await client.query<{ datname: string }>(
      'select datname from pg_database where datname = $1 or starts_with(datname, $2)',
      [template, prefix],
    );
    for (const { datname } of left.rows)
      await client.query(`drop database if exists ${datname} with (force)`);
  });
}
