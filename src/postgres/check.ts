/**
 * What must hold of a database before an instance starts on it.
 *
 * Each fault becomes a `StartError`: one line that names what is wrong and says what to do.
 */
import { StartError } from '../start-error.ts';
import { withConnection } from './connect.ts';
import { missingMigrations } from './migrate.ts';
import { findPooler } from './pooler.ts';

/** Where an instance reads, and where it listens. */
export interface Addresses {
  readonly databaseUrl: string;
  readonly listenUrl: string;
}

/** Throws a `StartError` where an instance cannot do its work. */
export async function checkDatabase({ databaseUrl, listenUrl }: Addresses): Promise<void> {
  const options = { setting: 'DATABASE_URL', applicationName: 'rowcast check' } as const;
  await withConnection(databaseUrl, options, async (client) => {
    const { rows } = await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby');
    if (rows[0]?.standby) {
      throw new StartError(
        'DATABASE_URL: the server is a standby, where LISTEN cannot work; use the primary',
      );
    }
    const missing = await missingMigrations(client);
    if (missing.length > 0) {
      throw new StartError(`the database lacks the migrations ${missing.join(', ')}; run: rowcast migrate`);
    }
  });
  const setting = listenUrl === databaseUrl ? 'DATABASE_URL' : 'ROWCAST_LISTEN_URL';
  if ((await findPooler(listenUrl, setting)) === 'transaction') {
    throw new StartError(
      `${setting}: LISTEN does not hold, a transaction pooler (PgBouncer) is in between; set ROWCAST_LISTEN_URL to a direct connection`,
    );
  }
}
