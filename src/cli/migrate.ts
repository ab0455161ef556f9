/** `rowcast migrate`: brings the database to what this version needs. */
import { withConnection } from '../postgres/connect.ts';
import { applyMigrations } from '../postgres/migrate.ts';
import { asOwner } from '../postgres/rights.ts';
import { type Context, printMigrations, readContext } from './context.ts';

/** Applies what is missing, and says what that was. Throws a `ConfigError` or a `StartError`. */
export async function migrate(context: Context): Promise<void> {
  const { config, connection } = readContext(context);
  const applied = await withConnection(config.databaseUrl, connection, (client) =>
    asOwner(client, () => applyMigrations(client, { observe: printMigrations(context) })),
  );
  if (applied.length === 0) context.print('all migrations were applied already');
}
