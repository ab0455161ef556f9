/** A throw-away PostgreSQL with the migrations applied, for tests that stop and restart it. */
import { type Postgres, startPostgres } from '../../src/dev/postgres.ts';
import { type Database, queriesOf } from './database.ts';
import { applyMigrations } from './migrations.ts';

/** The server, and queries to its database; they find it again after a restart. */
export interface Server extends Postgres, Pick<Database, 'query' | 'client'> {}

/** Starts one. Durability is left on, since a test may crash it; `dispose` removes it. */
export async function startServer(settings: Record<string, string> = {}): Promise<Server> {
  const postgres = await startPostgres({ settings });
  const { query, client, end } = queriesOf(postgres.url);
  const server: Server = {
    url: postgres.url,
    port: postgres.port,
    dataDir: postgres.dataDir,
    get pid() {
      return postgres.pid;
    },
    start: postgres.start,
    stop: postgres.stop,
    query,
    client,
    async dispose() {
      await end();
      await postgres.dispose();
    },
  };
  try {
    await applyMigrations(postgres.url);
  } catch (error) {
    await server.dispose();
    throw error;
  }
  return server;
}
