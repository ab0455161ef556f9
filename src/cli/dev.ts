/** `rowcast dev`: PostgreSQL, the demo's tables, the service and a page to look at, with one command. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type Config, readConfig } from '../config.ts';
import { createDemo } from '../dev/demo.ts';
import { startPostgres } from '../dev/postgres.ts';
import { createLogger, logObservations } from '../logger.ts';
import { type Observe, reasonOf } from '../observation.ts';
import { withConnection } from '../postgres/connect.ts';
import { applyFile, applyMigrations } from '../postgres/migrate.ts';
import { asOwner } from '../postgres/rights.ts';
import { startServer } from '../server.ts';
import { StartError } from '../start-error.ts';
import { APPLICATION_NAME, type Context, printMigrations } from './context.ts';
import { stopSignal } from './signals.ts';

const DATA_FOLDER = '.rowcast';
/** The page comes back when the next one is started: nobody waits for it. */
const DRAIN_MS = '200';
const DEMO = ['demo/001_messages.sql', 'demo/002_shop.sql'];
/** The chat of the demo. */
const CHANNELS = 'lobby:join+publish+presence, @*:publish';
const INSERT = `-c "insert into messages (content) values ('hello')"`;

/** Resolves when it has been stopped by a signal. Throws a `ConfigError` or a `StartError`. */
export async function dev(context: Context): Promise<void> {
  const releases: (() => Promise<void>)[] = [];
  const stopping = stopSignal();
  try {
    await Promise.race([start(context, (release) => releases.push(release)), stopping]);
    await stopping;
  } finally {
    for (const release of releases.reverse()) await release();
  }
}

async function start(context: Context, onStop: (release: () => Promise<void>) => void): Promise<void> {
  const { env, print } = context;
  const { DATABASE_URL, LOG_LEVEL, ROWCAST_DRAIN_MS, ROWCAST_CHANNELS } = env;
  const quiet = {
    ...env,
    ...secretOf(env),
    LOG_LEVEL: LOG_LEVEL || 'warn',
    ROWCAST_DRAIN_MS: ROWCAST_DRAIN_MS || DRAIN_MS,
    ROWCAST_CHANNELS: ROWCAST_CHANNELS || CHANNELS,
  };
  const { config, psql } = DATABASE_URL?.trim()
    ? { config: readConfig(quiet), psql: 'psql "$DATABASE_URL"' }
    : await embedded(quiet, context, onStop);
  const log = logObservations(createLogger({ level: config.logLevel }));
  const observe = tellOutages(print, LOG_LEVEL ? log : withoutOutages(log));

  await prepare(config, context);
  const demo = await createDemo({ config, observe });
  onStop(demo.close);
  const server = await startServer(config, { observe, pages: demo.pages, mount: demo.mount });
  onStop(server.stop);

  const host = ['0.0.0.0', '::'].includes(config.host) ? 'localhost' : new URL(server.url).hostname;
  print('');
  print('rowcast is running.');
  print(`  The page:      http://${host}:${server.port}/`);
  print(`  Insert a row:  ${psql} ${INSERT}`);
  print(`  The socket:    ws://${host}:${server.port}/ws (subscribe to messages)`);
  print('  To stop:       Ctrl+C');
}

/** What the demo signs the tokens of its chat with, where nothing else says who signs them. */
function secretOf(env: Context['env']): { ROWCAST_JWT_SECRET?: string } {
  const { ROWCAST_JWT_SECRET, ROWCAST_JWT_PUBLIC_KEY, ROWCAST_JWKS_URL } = env;
  if (ROWCAST_JWT_SECRET || ROWCAST_JWT_PUBLIC_KEY || ROWCAST_JWKS_URL) return {};
  return { ROWCAST_JWT_SECRET: randomBytes(32).toString('base64') };
}

/** Says for people when PostgreSQL goes, and when it is back. */
function tellOutages(print: Context['print'], log: Observe): Observe {
  let gone = false;
  return (seen) => {
    log(seen);
    if (seen.type === 'listener.lost' && !gone) {
      gone = true;
      print(`PostgreSQL is gone: ${seen.reason}; trying again until it is back`);
    } else if (seen.type === 'feed.caught_up' && gone) {
      gone = false;
      print('PostgreSQL is back, and what was committed meanwhile is caught up with');
    }
  };
}

/** What every outage brings. */
const OUTAGE: ReadonlySet<string> = new Set([
  'listener.lost',
  'listener.retry',
  'leader.lost',
  'pool.error',
  'bus.failed',
  'presence.lost',
  'presence.failed',
]);

/** All but that. */
function withoutOutages(log: Observe): Observe {
  let listening = true;
  return (seen) => {
    if (seen.type === 'listener.lost') listening = false;
    if (seen.type === 'listener.connected') listening = true;
    if (OUTAGE.has(seen.type)) return;
    if (!listening && (seen.type === 'feed.read_failed' || seen.type === 'catalog.failed')) return;
    log(seen);
  };
}

/** Starts a PostgreSQL of our own, whose data stays in the working directory. */
async function embedded(
  env: Context['env'],
  { print }: Context,
  onStop: (release: () => Promise<void>) => void,
): Promise<{ config: Config; psql: string }> {
  const configOf = (url: string) => readConfig({ ...env, DATABASE_URL: url, ROWCAST_LISTEN_URL: undefined });
  // What is wrong with the settings is told before anything is started.
  configOf('postgres://127.0.0.1/postgres');
  print(`starting a PostgreSQL of its own, with its data in ${DATA_FOLDER}/ (set DATABASE_URL to use yours)`);
  const postgres = await startPostgres({ dataDir: join(process.cwd(), DATA_FOLDER) }).catch(
    (cause: unknown) => {
      throw new StartError(reasonOf(cause), { cause });
    },
  );
  onStop(postgres.dispose);
  return { config: configOf(postgres.url), psql: `psql "${postgres.url}"` };
}

/** Applies the migrations and the demo's tables. */
async function prepare(config: Config, context: Context): Promise<void> {
  const observe: Observe = printMigrations(context);
  const connection = { setting: 'DATABASE_URL', applicationName: APPLICATION_NAME } as const;
  await withConnection(config.databaseUrl, connection, async (client) => {
    await asOwner(client, async () => {
      await applyMigrations(client, { observe });
      for (const file of DEMO) await applyFile(client, file);
    });
  });
}
