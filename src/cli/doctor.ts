/** `rowcast doctor`: tries everything that an instance needs, and says of each fault what to do. */
import type pg from 'pg';
import { commandLine } from '../command.ts';
import type { Config } from '../config.ts';
import { refusal, withConnection } from '../postgres/connect.ts';
import { HEARING_REMEDY, hear } from '../postgres/hearing.ts';
import { FOREIGN_REMEDY, isForeign, migrationState } from '../postgres/migrate.ts';
import { findPooler } from '../postgres/pooler.ts';
import { type Lack, lackOfOwn } from '../postgres/rights.ts';
import { StartError } from '../start-error.ts';
import { APPLICATION_NAME, type Context, readContext } from './context.ts';
import { checkBus } from './doctor/bus.ts';
import type { Found } from './doctor/finding.ts';
import { checkQueue } from './doctor/queue.ts';
import { checkAlterations, checkKeys, checkSnapshots, checkTriggers } from './doctor/watched.ts';

interface Finding extends Found {
  check: string;
}

type Check = (client: pg.Client, config: Config) => Promise<Found>;

/** In this order; those after one that others need are left out where it finds a fault. */
const CHECKS: readonly (readonly [name: string, check: Check])[] = [
  ['primary', checkPrimary],
  ['pooler', checkPooler],
  ['notifications', checkNotifications],
  ['queue', checkQueue],
  ['bus', checkBus],
  ['rights', checkRights],
  ['migrations', checkMigrations],
  ['log', checkLog],
  ['triggers', checkTriggers],
  ['keys', checkKeys],
  ['alterations', checkAlterations],
  ['snapshots', checkSnapshots],
];
const NEEDED = new Set(['primary', 'rights', 'migrations']);

/** Prints what it found, as lines or as one JSON array; gives whether all is well. Throws a `ConfigError`. */
export async function doctor({ json = false }: { json?: boolean }, context: Context): Promise<boolean> {
  const { config, connection } = readContext(context);
  const findings: Finding[] = [];
  const add = (finding: Finding) => {
    findings.push(finding);
    if (json) return;
    context.print(`${finding.remedy === undefined ? 'ok   ' : 'FAULT'}  ${finding.check}: ${finding.found}`);
    if (finding.remedy !== undefined) context.print(`       → ${finding.remedy}`);
  };
  try {
    await withConnection(config.databaseUrl, connection, async (client) => {
      const { rows } = await client.query<{ version: string }>(
        `select current_setting('server_version') as version`,
      );
      add({
        check: 'connection',
        found: `PostgreSQL ${rows[0]?.version ?? ''}, database ${client.database}`,
      });
      for (const [check, look] of CHECKS) {
        const found = await look(client, config).catch(failed);
        add({ check, ...found });
        if (NEEDED.has(check) && found.remedy !== undefined) break;
      }
    });
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    add({ check: 'connection', ...failed(error) });
  }
  if (json) context.print(JSON.stringify(findings, null, 2));
  return findings.every(({ remedy }) => remedy === undefined);
}

/** A check that could not be made. What is ours has its remedy after a semicolon. */
function failed(error: unknown): Found {
  const [found = '', ...remedy] = refusal(error).split('; ');
  const again = `mend that, then run again: ${commandLine('doctor')}`;
  return { found, remedy: remedy.length === 0 ? again : remedy.join('; ') };
}

async function checkPrimary(client: pg.Client): Promise<Found> {
  const { rows } = await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby');
  if (!rows[0]?.standby) return { found: 'the server takes writes' };
  return {
    found: 'the server is a standby, on which nobody can LISTEN',
    remedy: 'set DATABASE_URL to the primary',
  };
}

async function checkPooler(_: pg.Client, { listenUrl }: Config): Promise<Found> {
  const pooler = await findPooler(listenUrl, 'ROWCAST_LISTEN_URL');
  if (pooler === 'none') return { found: 'none on the way of the listener' };
  if (pooler === 'session') return { found: 'one in session mode on the way of the listener, which is fine' };
  return {
    found: 'one in transaction mode on the way of the listener, through which nobody can LISTEN',
    remedy: 'set ROWCAST_LISTEN_URL to a direct connection; DATABASE_URL may go on using the pooler',
  };
}

/** A NOTIFY sent by way of DATABASE_URL, heard by way of ROWCAST_LISTEN_URL. */
async function checkNotifications(client: pg.Client, { listenUrl }: Config): Promise<Found> {
  const options = { setting: 'ROWCAST_LISTEN_URL', applicationName: APPLICATION_NAME } as const;
  const { afterMs, sentAt, listenedAt } = await hear(client, listenUrl, options);
  if (afterMs !== null) return { found: `a NOTIFY was heard after ${afterMs.toFixed(1)} ms` };
  return { found: `a NOTIFY sent to ${sentAt} is not heard at ${listenedAt}`, remedy: HEARING_REMEDY };
}

async function checkMigrations(client: pg.Client): Promise<Found> {
  const { missing, altered, newer } = await migrationState(client);
  const remedy = `run: ${commandLine('migrate')}`;
  if (missing.length > 0) return { found: `not applied: ${missing.join(', ')}`, remedy };
  if (newer !== null) return { found: `applied by a newer version, ${newer}, which this one goes on with` };
  if (altered.length > 0)
    return { found: `applied in another version than this one's: ${altered.join(', ')}`, remedy };
  return { found: 'all are applied' };
}

async function checkLog(client: pg.Client): Promise<Found> {
  if (!(await isForeign(client))) return { found: 'made on this server' };
  return {
    found: 'it came by a dump of another server, with transactions that are not yet here',
    remedy: FOREIGN_REMEDY,
  };
}

/** Of the role that reads, and of the one that listens. */
async function checkRights(client: pg.Client, { databaseUrl, listenUrl }: Config): Promise<Found> {
  const own = await lackOfOwn(client);
  const options = { setting: 'ROWCAST_LISTEN_URL', applicationName: APPLICATION_NAME } as const;
  const lack =
    own === null && listenUrl !== databaseUrl ? await withConnection(listenUrl, options, lackToListen) : own;
  if (lack === null) return { found: 'those on schema rowcast are there' };
  return { found: `the role ${lack.role} may not ${lack.lacking.join(', nor ')}`, remedy: lack.remedy };
}

/** What keeps a role from listening; pruning is not for it. */
async function lackToListen(client: pg.Client): Promise<Lack | null> {
  const lack = await lackOfOwn(client);
  return lack?.canServe ? null : lack;
}
