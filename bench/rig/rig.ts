/**
 * The rig: what measurements run on. One PostgreSQL for all of them, and for each its own databases,
 * processes and connections.
 *
 * It promises that whatever a measurement keeps in it is ended, in reverse, when that measurement is over.
 */
import pg from 'pg';
import { type Postgres, startPostgres } from '../../src/dev/postgres.ts';
import { type Instance, migrate, startInstance } from './instance.ts';
import { type Peer, startPeer } from './peer.ts';
import { LOG_SETTINGS, type Statement, statementOf } from './statements.ts';

export interface Rig {
  /** Fewer and shorter rounds: to see that it works, not for figures. */
  readonly quick: boolean;
  /** Creates a database with rowcast's migrations applied; gives its URL. */
  database(name: string): Promise<string>;
  /** Connects to a database. */
  client(url: string): Promise<pg.Client>;
  /** Starts an instance of rowcast; `env` are further settings. */
  instance(databaseUrl: string, env?: Readonly<Record<string, string>>): Promise<Instance>;
  /** Gives what PostgreSQL is asked from now on, in databases whose statements are logged. */
  statements(): Statement[];
  /** Keeps what was started elsewhere. */
  keep<T extends { stop(): Promise<void> }>(started: T): T;
  /** Starts one of the programs in `peers/`. */
  peer(program: string, ...args: (string | number)[]): Promise<Peer>;
}

export interface Bench {
  readonly postgresVersion: string;
  /** Calls with a rig, and ends afterwards what was kept in it. */
  withRig<T>(use: (rig: Rig) => Promise<T>): Promise<T>;
  /** Ends everything, a measurement under way included. */
  stop(): Promise<void>;
}

/** PostgreSQL as it ships, but for connections: durability is on. */
const SETTINGS = { max_connections: '300', ...LOG_SETTINGS };

/** Starts the PostgreSQL that all measurements share. */
export async function startBench({ quick }: { quick: boolean }): Promise<Bench> {
  const seeing = new Set<(line: string) => void>();
  const onLog = (line: string) => {
    for (const see of seeing) see(line);
  };
  const postgres = await startPostgres({ settings: SETTINGS, onLog });
  const undos: (() => Promise<unknown>)[] = [];
  const rig = createRig({ quick, postgres, undos, seeing });

  async function undoAll(): Promise<void> {
    for (let undo = undos.pop(); undo !== undefined; undo = undos.pop()) await undo();
  }

  // A measurement that is broken off by `stop` fails, and wants its release too.
  let releasing: Promise<void> | undefined;
  function release(): Promise<void> {
    releasing ??= undoAll().finally(() => {
      releasing = undefined;
    });
    return releasing;
  }

  let stopping: Promise<void> | undefined;
  function stop(): Promise<void> {
    stopping ??= release().then(() => postgres.dispose());
    return stopping;
  }

  return {
    postgresVersion: await versionOf(postgres.url),
    async withRig(use) {
      try {
        return await use(rig);
      } finally {
        await release();
      }
    },
    stop,
  };
}

interface RigParts {
  quick: boolean;
  postgres: Postgres;
  undos: (() => Promise<unknown>)[];
  /** Who is given each line of PostgreSQL's log. */
  seeing: Set<(line: string) => void>;
}

function createRig({ quick, postgres, undos, seeing }: RigParts): Rig {
  /** What was started is ended by its own `stop`. */
  function kept<T extends { stop(): Promise<void> }>(started: T): T {
    undos.push(() => started.stop());
    return started;
  }

  return {
    quick,
    async database(name) {
      await withClient(postgres.url, (admin) => admin.query(`create database ${name}`));
      const url = new URL(postgres.url);
      url.pathname = name;
      await migrate(url.href);
      undos.push(() =>
        withClient(postgres.url, (admin) => admin.query(`drop database ${name} with (force)`)),
      );
      return url.href;
    },
    async client(url) {
      const client = new pg.Client({ connectionString: url });
      // A connection that breaks fails its next query.
      client.on('error', () => undefined);
      await client.connect();
      undos.push(() => client.end());
      return client;
    },
    instance: async (databaseUrl, env) => kept(await startInstance(databaseUrl, env)),
    statements() {
      const seen: Statement[] = [];
      const see = (line: string) => {
        const statement = statementOf(line);
        if (statement !== undefined) seen.push(statement);
      };
      seeing.add(see);
      undos.push(async () => seeing.delete(see));
      return seen;
    },
    keep: kept,
    peer: async (program, ...args) => kept(await startPeer(program, args.map(String))),
  };
}

async function versionOf(url: string): Promise<string> {
  const { rows } = await withClient(url, (client) =>
    client.query<{ server_version: string }>('show server_version'),
  );
  return rows[0]?.server_version ?? 'unknown';
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}
