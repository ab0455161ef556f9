/**
 * What must hold of a database before an instance starts on it.
 *
 * Each fault becomes a `StartError`: one line that names what is wrong and says what to do.
 */
import { StartError } from '../start-error.ts';
import { withConnection } from './connect.ts';
import { HEARING_REMEDY, hear } from './hearing.ts';
import { requireMigrations, requireOwnLog } from './migrate.ts';
import { findPooler } from './pooler.ts';
import { requireRights } from './rights.ts';

/** Where an instance reads, and where it listens. */
export interface Addresses {
  readonly databaseUrl: string;
  readonly listenUrl: string;
}

/** Throws a `StartError` where an instance cannot do its work. */
export async function checkDatabase({ databaseUrl, listenUrl }: Addresses): Promise<void> {
  const applicationName = 'rowcast check';
  await withConnection(databaseUrl, { setting: 'DATABASE_URL', applicationName }, async (client) => {
    const { rows } = await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby');
    if (rows[0]?.standby) {
      throw new StartError(
        'DATABASE_URL: the server is a standby, where LISTEN cannot work; use the primary',
      );
    }
    await requireRights(client);
    await requireMigrations(client);
    await requireOwnLog(client);
    const setting = listenUrl === databaseUrl ? 'DATABASE_URL' : 'ROWCAST_LISTEN_URL';
    if ((await findPooler(listenUrl, setting)) === 'transaction') {
      throw new StartError(
        `${setting}: LISTEN does not hold, a transaction pooler (PgBouncer) is in between; set ROWCAST_LISTEN_URL to a direct connection`,
      );
    }
    const { afterMs, sentAt, listenedAt } = await hear(client, listenUrl, { setting, applicationName });
    if (afterMs === null) {
      throw new StartError(
        `${setting}: a NOTIFY sent to ${sentAt} (DATABASE_URL) is not heard at ${listenedAt}; ${HEARING_REMEDY}`,
      );
    }
    // The listener looks at the watched tables too, and may be another role.
    if (setting === 'ROWCAST_LISTEN_URL')
      await withConnection(listenUrl, { setting, applicationName }, requireRights);
  });
}
