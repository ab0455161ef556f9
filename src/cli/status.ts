/** `rowcast status`: what is watched, how large the log is, and who listens. */
import type pg from 'pg';
import { commandLine } from '../command.ts';
import { withConnection } from '../postgres/connect.ts';
import { hear } from '../postgres/hearing.ts';
import { keyFaults } from '../postgres/keys.ts';
import { requireMigrations } from '../postgres/migrate.ts';
import { requireRights } from '../postgres/rights.ts';
import { APPLICATION_NAME, type Context, readContext } from './context.ts';

interface Watched {
  table: string;
  key: (string | null)[];
  columns: string[];
  allColumns: boolean;
  access: string;
  scope: Record<string, string> | null;
  /** All triggers are in place and enabled. */
  capturing: boolean;
  /** What keeps its rows from being told apart by the key. */
  keyFaults: ('dropped' | 'twins' | 'nulls')[];
}

interface Slot {
  slot: number;
  bytes: number;
  startedAt: string | null;
  endedAt: string | null;
}

interface Connected {
  name: string;
  address: string | null;
  connections: number;
  since: string;
}

/** What the command tells; times are RFC 3339. */
export interface Status {
  watched: Watched[];
  log: {
    bytes: number;
    /** As it grew since its oldest slot was begun. */
    bytesPerSecond: number;
    /** Since when commits are in it: cursors from before are answered with `reset`. */
    reachesBackTo: string | null;
    newestCommitAt: string | null;
    slots: Slot[];
  };
  /** How full PostgreSQL's notification queue is, from 0 to 1. */
  queueUsage: number;
  /** How long a NOTIFY took to be heard, now; null where it was not. */
  notifyMs: number | null;
  fleet: Fleet;
  /** Connections of rowcast to the database, by what they are for and from where. */
  instances: Connected[];
}

interface Fleet {
  /** Each has one connection that leads, or waits to. */
  instances: number;
  leaderPid: number | null;
  /** The leader has writers skip their NOTIFYs. */
  muted: boolean;
}

const WATCHED = `
  select "table"::text, key, columns, all_columns as "allColumns", access, scope, capturing
    from rowcast.watched order by 1`;

const time = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const SLOTS = `
  select slot, rowcast.slot_bytes(slot)::float8 as bytes, ${time('started_at')} as "startedAt",
         ${time('ended_at')} as "endedAt"
    from rowcast.log_slot order by slot`;

const NEWEST = `select ${time('at')} as at from rowcast.log order by xid desc, id desc limit 1`;

const CONNECTED = `
  select application_name as name, host(client_addr) as address, count(*)::int as connections,
         ${time('min(backend_start)')} as since
    from pg_stat_activity
   where datname = current_database() and application_name like 'rowcast%' and pid <> pg_backend_pid()
   group by 1, 2 order by 1, 2`;

/** Advisory locks of the database: 3 has who leads, 4 who mutes; see migrations/005_commit.sql. */
const FLEET = `
  with held as (
    select l.pid from pg_locks l
     where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
       and l.classid = hashtext('rowcast')::oid and l.objid = 3 and l.mode = 'ExclusiveLock' and l.granted),
  muting as (
    select from pg_locks l
     where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
       and l.classid = hashtext('rowcast')::oid and l.objid = 4 and l.mode = 'ExclusiveLock')
  select (select count(*)::int from pg_stat_activity
           where datname = current_database() and application_name = 'rowcast leader') as instances,
         (select min(pid) from held) as "leaderPid", exists (select from muting) as muted`;

const RATE = `
  select coalesce(sum(rowcast.slot_bytes(slot)) / greatest(extract(epoch from clock_timestamp() - min(started_at)), 1), 0)::float8 as rate,
         ${time('min(started_at)')} as since
    from rowcast.log_slot where started_at is not null`;

/** Prints the status, as text or as one JSON object. Throws a `ConfigError` or a `StartError`. */
export async function status({ json = false }: { json?: boolean }, context: Context): Promise<void> {
  const { config, connection } = readContext(context);
  const found = await withConnection(config.databaseUrl, connection, (client) =>
    readStatus(client, config.listenUrl),
  );
  if (json) context.print(JSON.stringify(found, null, 2));
  else for (const line of linesOf(found)) context.print(line);
}

async function readStatus(client: pg.Client, listenUrl: string): Promise<Status> {
  await requireRights(client);
  await requireMigrations(client);
  const watched = await client.query<Omit<Watched, 'keyFaults'>>(WATCHED);
  const faults = await keyFaults(client);
  const slots = await client.query<Slot>(SLOTS);
  const newest = await client.query<{ at: string }>(NEWEST);
  const queue = await client.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  const rate = await client.query<{ rate: number; since: string | null }>(RATE);
  const fleet = await client.query<Fleet>(FLEET);
  const heard = await hear(client, listenUrl, {
    setting: 'ROWCAST_LISTEN_URL',
    applicationName: APPLICATION_NAME,
  });
  const connected = await client.query<Connected>(CONNECTED);
  return {
    watched: watched.rows.map((row) => ({
      ...row,
      keyFaults: faults.filter(({ table }) => table === row.table).map(({ fault }) => fault),
    })),
    log: {
      bytes: slots.rows.reduce((sum, { bytes }) => sum + bytes, 0),
      bytesPerSecond: rate.rows[0]?.rate ?? 0,
      reachesBackTo: rate.rows[0]?.since ?? null,
      newestCommitAt: newest.rows[0]?.at ?? null,
      slots: slots.rows,
    },
    queueUsage: queue.rows[0]?.usage ?? 0,
    notifyMs: heard.afterMs,
    fleet: fleet.rows[0] ?? { instances: 0, leaderPid: null, muted: false },
    instances: connected.rows,
  };
}

const MARKS = { dropped: 'KEY COLUMN DROPPED', twins: 'KEY NOT UNIQUE', nulls: 'KEY MAY BE NULL' } as const;

function linesOf({ watched, log, queueUsage, notifyMs, fleet, instances }: Status): string[] {
  const used = log.slots.filter(({ startedAt }) => startedAt !== null);
  return [
    `Watched tables: ${watched.length || `none; see ${commandLine('watch --help')}`}`,
    ...watched.map(
      ({ table, key, columns, allColumns, access, scope, capturing, keyFaults }) =>
        `  ${table}  key ${key.map((column) => column ?? '(dropped)').join(', ')}  ${allColumns ? 'all columns' : columns.join(', ')}` +
        `  ${access}${scope ? ` ${JSON.stringify(scope)}` : ''}  ${capturing ? 'triggers in place' : 'TRIGGERS MISSING OR DISABLED'}` +
        keyFaults.map((fault) => `  ${MARKS[fault]}`).join(''),
    ),
    `Log: ${sizeOf(log.bytes)}, ${sizeOf(log.bytesPerSecond)} a second, back to ${log.reachesBackTo ?? 'nothing'}, newest commit ${log.newestCommitAt ?? 'none'}`,
    ...used.map(
      ({ slot, bytes, startedAt, endedAt }) =>
        `  slot ${slot}  ${sizeOf(bytes)}  ${startedAt} to ${endedAt ?? 'now'}`,
    ),
    `Notification queue: ${(queueUsage * 100).toFixed(1)} % used`,
    `A NOTIFY: ${notifyMs === null ? 'NOT HEARD' : `heard after ${notifyMs.toFixed(1)} ms`}${fleet.muted ? '; muted, the leader reads the log' : ''}`,
    `Instances: ${fleet.instances || 'none'}${fleet.leaderPid === null ? '' : `, led by that of pid ${fleet.leaderPid}`}`,
    `Connections: ${instances.length || 'none'}`,
    ...instances.map(
      ({ name, address, connections, since }) =>
        `  ${name}  ${address ?? 'by socket'}  ${connections} connection${connections === 1 ? '' : 's'}  since ${since}`,
    ),
  ];
}

function sizeOf(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
