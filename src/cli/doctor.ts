/** `rowcast doctor`: tries everything that an instance needs, and says of each fault what to do. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { Config } from '../config.ts';
import { reasonOf } from '../observation.ts';
import { connect, refusal, withConnection } from '../postgres/connect.ts';
import { missingMigrations } from '../postgres/migrate.ts';
import { findPooler } from '../postgres/pooler.ts';
import { StartError } from '../start-error.ts';
import { APPLICATION_NAME, type Context, readContext } from './context.ts';

/** What one check found; with a remedy it is a fault. */
interface Finding {
  check: string;
  found: string;
  remedy?: string;
}

type Check = (client: pg.Client, config: Config) => Promise<Omit<Finding, 'check'>>;

const HEARD_WITHIN_MS = 5_000;
const QUEUE_FULL = 0.5;
const TABLES = ['rowcast.log', 'rowcast.chunk', 'rowcast.install', 'rowcast.migration', 'rowcast.watched'];

/** In this order; those after `migrations` need what the migrations make. */
const CHECKS: readonly (readonly [name: string, check: Check])[] = [
  ['primary', checkPrimary],
  ['pooler', checkPooler],
  ['notifications', checkNotifications],
  ['queue', checkQueue],
  ['migrations', checkMigrations],
  ['rights', checkRights],
  ['triggers', checkTriggers],
  ['keys', checkKeys],
];

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
        if (check === 'migrations' && found.remedy !== undefined) break;
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
function failed(error: unknown): Omit<Finding, 'check'> {
  if (error instanceof pg.DatabaseError && error.code === '42501') {
    return { found: refusal(error), remedy: grants('the user of DATABASE_URL') };
  }
  const [found = '', remedy = 'mend that, then run rowcast doctor again'] = refusal(error).split('; ');
  return { found, remedy };
}

function grants(who: string): string {
  return `as the owner of schema rowcast: grant usage on schema rowcast to ${who}; grant select on all tables in schema rowcast to ${who}`;
}

async function checkPrimary(client: pg.Client): Promise<Omit<Finding, 'check'>> {
  const { rows } = await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby');
  if (!rows[0]?.standby) return { found: 'the server takes writes' };
  return {
    found: 'the server is a standby, on which nobody can LISTEN',
    remedy: 'set DATABASE_URL to the primary',
  };
}

async function checkPooler(_: pg.Client, { listenUrl }: Config): Promise<Omit<Finding, 'check'>> {
  const pooler = await findPooler(listenUrl, 'ROWCAST_LISTEN_URL');
  if (pooler === 'none') return { found: 'none on the way of the listener' };
  if (pooler === 'session') return { found: 'one in session mode on the way of the listener, which is fine' };
  return {
    found: 'one in transaction mode on the way of the listener, through which nobody can LISTEN',
    remedy: 'set ROWCAST_LISTEN_URL to a direct connection; DATABASE_URL may go on using the pooler',
  };
}

/** A NOTIFY sent by way of DATABASE_URL, heard by way of ROWCAST_LISTEN_URL. */
async function checkNotifications(client: pg.Client, { listenUrl }: Config): Promise<Omit<Finding, 'check'>> {
  const channel = `rowcast_doctor_${randomBytes(8).toString('hex')}`;
  const listener = await connect(listenUrl, {
    setting: 'ROWCAST_LISTEN_URL',
    applicationName: APPLICATION_NAME,
    queryTimeoutMs: HEARD_WITHIN_MS,
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const heard = new Promise<boolean>((resolve) => {
      listener.on('notification', () => resolve(true));
      timer = setTimeout(() => resolve(false), HEARD_WITHIN_MS);
    });
    await listener.query(`listen ${channel}`);
    const sentAt = performance.now();
    await client.query('select pg_notify($1, $2)', [channel, 'heard?']);
    if (await heard)
      return { found: `a NOTIFY was heard after ${(performance.now() - sentAt).toFixed(1)} ms` };
    return {
      found: `a NOTIFY was not heard within ${HEARD_WITHIN_MS} ms`,
      remedy: 'let ROWCAST_LISTEN_URL lead directly to the very database of DATABASE_URL, by no pooler',
    };
  } finally {
    clearTimeout(timer);
    // Through a pooler it would stay on the session of others.
    await listener.query(`unlisten ${channel}`).catch(reasonOf);
    await listener.end();
  }
}

async function checkQueue(client: pg.Client): Promise<Omit<Finding, 'check'>> {
  const { rows } = await client.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  const usage = rows[0]?.usage ?? 0;
  const found = `the notification queue is ${(usage * 100).toFixed(1)} % full`;
  if (usage < QUEUE_FULL) return { found };
  return {
    found,
    remedy:
      'some session LISTENs and sits in an open transaction: find it in pg_stat_activity (oldest xact_start) and end it; a full queue fails commits',
  };
}

async function checkMigrations(client: pg.Client): Promise<Omit<Finding, 'check'>> {
  const missing = await missingMigrations(client);
  if (missing.length === 0) return { found: 'all are applied' };
  return { found: `not applied: ${missing.join(', ')}`, remedy: 'run: rowcast migrate' };
}

async function checkRights(client: pg.Client): Promise<Omit<Finding, 'check'>> {
  const { rows } = await client.query<{ who: string; lacking: string[] | null }>(
    `select current_user::text as who,
            (select array_agg(name) from unnest($1::text[]) name where not has_table_privilege(name, 'select')) as lacking`,
    [TABLES],
  );
  const { who = '', lacking } = rows[0] ?? {};
  if (!lacking) return { found: `${who} may read the log` };
  return {
    found: `${who} may not read ${lacking.join(', ')}`,
    remedy: grants(`"${who}"`),
  };
}

async function checkTriggers(client: pg.Client): Promise<Omit<Finding, 'check'>> {
  const { rows } = await client.query<{ table: string; capturing: boolean }>(
    'select "table"::text, coalesce(capturing, false) as capturing from rowcast.watched order by 1',
  );
  const broken = rows.filter(({ capturing }) => !capturing).map(({ table }) => table);
  if (broken.length === 0) return { found: `in place and enabled on all watched tables (${rows.length})` };
  return {
    found: `missing or disabled on ${broken.join(', ')}: changes there are lost`,
    remedy: 'call rowcast.watch(…) again with the same settings, which makes them anew',
  };
}

async function checkKeys(client: pg.Client): Promise<Omit<Finding, 'check'>> {
  const { rows } = await client.query<{ table: string }>(
    `select "table"::text from rowcast.watched where array_position(key, null) is not null order by 1`,
  );
  if (rows.length === 0) return { found: 'the key columns of all watched tables are there' };
  return {
    found: `a key column was dropped of ${rows.map(({ table }) => table).join(', ')}: writes there fail`,
    remedy: 'call rowcast.watch(table, key => …) with columns that are there, or rowcast.unwatch(table)',
  };
}
