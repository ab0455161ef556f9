/** The moment of a transaction: what it sees, and what cursors are checked against. */
import type pg from 'pg';
import { parseSnapshot, type Snapshot } from '../position.ts';

export interface Moment {
  readonly snapshot: Snapshot;
  /** The newest transaction that was pruned. */
  readonly prunedXid: bigint;
  /** What cursors of this database belong to. */
  readonly stream: string;
  /** When the server was started last, as snapshots tell the time. */
  readonly restartedAtUs: bigint;
}

/** What cursors belong to, where `i` is the row of `rowcast.install`: this log of this database on this timeline. */
export const STREAM = `substr(md5(concat_ws(',', (pg_control_system()).system_identifier,
      left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), (select oid from pg_database where datname = current_database()),
      'rowcast.log'::regclass::oid, i.token)), 1, 10)`;

/** One line, empty where nothing is installed. */
export const MOMENT = `select coalesce((select concat_ws(' ', pg_current_snapshot(), i.pruned_xid,
    (extract(epoch from clock_timestamp()) * 1000000)::bigint,
    (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint,
    ${STREAM})
  from rowcast.install i), '')`;

/** What a transaction sees. */
export async function momentOf(client: pg.ClientBase): Promise<Moment> {
  return momentIn((await linesOf(client, MOMENT))[0]);
}

/** The same, of a line of `MOMENT`. */
export function momentIn(line = ''): Moment {
  if (line === '')
    throw new Error('rowcast.install is empty: apply migrations/001_schema.sql again, by psql -f');
  const [snapshot = '', pruned = '', at = '', restartedAt = '', stream = ''] = line.split(' ');
  return {
    snapshot: parseSnapshot(snapshot, BigInt(at)),
    prunedXid: BigInt(pruned),
    stream,
    restartedAtUs: BigInt(restartedAt),
  };
}

/** What statements give, those of them that give rows, of one column each. */
export async function linesOf(client: pg.ClientBase, text: string): Promise<string[]> {
  return linesIn(await client.query<[string]>({ text, rowMode: 'array' }));
}

/** `pg` gives several results where there were several statements. */
function linesIn(answer: pg.QueryArrayResult<[string]> | pg.QueryArrayResult<[string]>[]): string[] {
  return [answer].flat().flatMap(({ rows }) => rows.map(([line]) => line));
}
