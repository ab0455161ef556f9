/** A database, an instance of rowcast and a network in between that a test can cut; and clients of it. */
import { WebSocket } from 'ws';
import { type Client, type ClientOptions, createClient, type Live, type Row } from '../../src/client.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { type Instance, startInstance } from '../harness/instance.ts';
import { type Proxy as Network, startProxy } from '../harness/proxy.ts';
import { withClient } from '../harness/suite.ts';

export interface Site {
  readonly database: Database;
  readonly instance: Instance;
  readonly network: Network;
  /** Of the service, by way of the network. */
  readonly url: string;
  /** What clients reported that no test expects. */
  readonly reported: unknown[];
  client(options?: Partial<ClientOptions>): Client;
  /** Empties tables; resolves when the instance has handed that on, so that whoever subscribes then does not hear of it. */
  empty(...tables: string[]): Promise<void>;
  /** Starts another instance, to which new connections lead from now on; the one before is stopped. */
  replace(env?: Record<string, string>): Promise<void>;
  close(): Promise<void>;
}

const FAST = { ROWCAST_HEARTBEAT_MS: '200' };

/** `sql` makes the tables; each named one is watched for everyone. */
export async function startSite(
  sql: string,
  tables: readonly string[],
  env: Record<string, string> = {},
): Promise<Site> {
  const database = await createDatabase();
  await database.query(sql);
  for (const table of tables) await database.query(`select rowcast.watch('${table}', access => 'public')`);
  let instance = await startInstance(database.url, { ...FAST, ...env });
  const network = await startProxy(Number(new URL(instance.url).port));
  const clients: Client[] = [];
  const reported: unknown[] = [];
  return {
    database,
    get instance() {
      return instance;
    },
    network,
    url: `ws://127.0.0.1:${network.port}/ws`,
    reported,
    client(options = {}) {
      const url = `ws://127.0.0.1:${network.port}/ws`;
      const client = createClient({ url, WebSocket, onError: (error) => reported.push(error), ...options });
      clients.push(client);
      return client;
    },
    async empty(...tables) {
      const heard = instance.observed.since();
      const xid = await withClient(database.url, async (writer) => {
        await writer.query(`begin; truncate ${tables.join(', ')}`);
        const { rows } = await writer.query<{ id: string }>('select pg_current_xact_id()::text as id');
        await writer.query('commit');
        return BigInt(rows[0]?.id ?? '');
      });
      await heard.next('feed.commit', (seen) => seen.xid === xid);
    },
    async replace(other = {}) {
      const before = instance;
      instance = await startInstance(database.url, { ...FAST, ...env, ...other });
      network.leadTo(Number(new URL(instance.url).port));
      await before.stop();
    },
    async close() {
      for (const client of clients) client.close();
      await network.close();
      await instance.stop();
      await database.drop();
    },
  };
}

/** Waits until the collection has exactly these rows. */
export function hasRows(live: Live, rows: readonly Row[], timeoutMs = 10_000): Promise<unknown> {
  const wanted = JSON.stringify(rows);
  return until(() => JSON.stringify(live.rows) === wanted, {
    timeoutMs,
    what: `the rows ${wanted}`,
  });
}

/** Waits until it is so. */
export function hasStatus(
  one: { readonly status: string },
  status: string,
  timeoutMs = 10_000,
): Promise<unknown> {
  return until(() => one.status === status, { timeoutMs, what: `the status ${status}` });
}
