/** `rowcast status`: what is watched, how large the log is, and who listens. */
import type pg from 'pg';
import { commandLine } from '../command.ts';
import { withConnection } from '../postgres/connect.ts';
import { keyFaults } from '../postgres/keys.ts';
import { requireMigrations } from '../postgres/migrate.ts';
import { requireRights } from '../postgres/rights.ts';
import { type Context, readContext } from './context.ts';

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
  log: { bytes: number; newestCommitAt: string | null; slots: Slot[] };
  /** How full PostgreSQL's notification queue is, from 0 to 1. */
  queueUsage: number;
  instances: Connected[];
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

/** Prints the status, as text or as one JSON object. Throws a `ConfigError` or a `StartError`. */
export async function status({ json = false }: { json?: boolean }, context: Context): Promise<void> {
  const { config, connection } = readContext(context);
  const found = await withConnection(config.databaseUrl, connection, readStatus);
  if (json) context.print(JSON.stringify(found, null, 2));
  else for (const line of linesOf(found)) context.print(line);
}

async function readStatus(client: pg.Client): Promise<Status> {
  await requireRights(client);
  await requireMigrations(client);
  const watched = await client.query<Omit<Watched, 'keyFaults'>>(WATCHED);
  const faults = await keyFaults(client);
  const slots = await client.query<Slot>(SLOTS);
  const newest = await client.query<{ at: string }>(NEWEST);
  const queue = await client.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  const connected = await client.query<Connected>(CONNECTED);
  return {
    watched: watched.rows.map((row) => ({
      ...row,
      keyFaults: faults.filter(({ table }) => table === row.table).map(({ fault }) => fault),
    })),
    log: {
      bytes: slots.rows.reduce((sum, { bytes }) => sum + bytes, 0),
      newestCommitAt: newest.rows[0]?.at ?? null,
      slots: slots.rows,
    },
    queueUsage: queue.rows[0]?.usage ?? 0,
    instances: connected.rows,
  };
}

const MARKS = { dropped: 'KEY COLUMN DROPPED', twins: 'KEY NOT UNIQUE', nulls: 'KEY MAY BE NULL' } as const;

function linesOf({ watched, log, queueUsage, instances }: Status): string[] {
  const used = log.slots.filter(({ startedAt }) => startedAt !== null);
  return [
    `Watched tables: ${watched.length || `none; see ${commandLine('watch --help')}`}`,
    ...watched.map(
      ({ table, key, columns, allColumns, access, scope, capturing, keyFaults }) =>
        `  ${table}  key ${key.map((column) => column ?? '(dropped)').join(', ')}  ${allColumns ? 'all columns' : columns.join(', ')}` +
        `  ${access}${scope ? ` ${JSON.stringify(scope)}` : ''}  ${capturing ? 'triggers in place' : 'TRIGGERS MISSING OR DISABLED'}` +
        keyFaults.map((fault) => `  ${MARKS[fault]}`).join(''),
    ),
    `Log: ${sizeOf(log.bytes)}, newest commit ${log.newestCommitAt ?? 'none'}`,
    ...used.map(
      ({ slot, bytes, startedAt, endedAt }) =>
        `  slot ${slot}  ${sizeOf(bytes)}  ${startedAt} to ${endedAt ?? 'now'}`,
    ),
    `Notification queue: ${(queueUsage * 100).toFixed(1)} % used`,
    `Connected: ${instances.length || 'no instance'}`,
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
