/**
 * Reads of the log.
 *
 * A read is one REPEATABLE READ transaction: it takes a snapshot and hands on, in order, every commit that the
 * snapshot sees and a position lacks. It holds a page in memory, not more: rows come through a cursor, and a large
 * commit is streamed from its chunks.
 */
import type pg from 'pg';
import { type Position, parseSnapshot, partsIn, type Snapshot, spellSnapshot } from '../position.ts';
import { inTransaction } from './transaction.ts';

/** A commit as the log holds it. */
export interface LoggedCommit {
  readonly xid: bigint;
  /** The id of its last row. */
  readonly id: bigint;
  readonly at: string;
  /** How many parts the log holds. */
  readonly parts: number;
  /** How many of them the position has already. */
  readonly skipParts: number;
  /** All its lines, where they are few and in one place; else null. */
  readonly body: string | null;
  /** Its lines, piece after piece, in the order of parts and tickets. */
  bodies(): AsyncIterable<string>;
}

export interface ReadStart {
  readonly snapshot: Snapshot;
  /** The newest transaction that was pruned. */
  readonly prunedXid: bigint;
  /** What cursors of this database belong to. */
  readonly stream: string;
  /** When the server was started last, as snapshots tell the time. */
  readonly restartedAtUs: bigint;
  /** Where ids that a snapshot took for over have been given anew; null where none has. */
  reusedFrom(snapshot: Snapshot): Promise<bigint | null>;
  /** Of the latest commits the first, backwards, that is too far back or too large to be recalled; null where none is. */
  tooFar(): Promise<bigint | null>;
}

/** Where a read begins. */
export interface ReadFrom {
  readonly position: Position;
  /** Commits to begin with, out of the order of ids: those that were broken off. */
  readonly first: readonly bigint[];
}

export interface LogReader {
  /**
   * Reads what is missing from a position, null for nothing at all. `begin` gets the snapshot first and says whether
   * to go on; `each` gets the commits in order, and says so too. Resolves with the snapshot. Rejects with the
   * database's error; what was handed on before stands.
   */
  read(
    from: () => ReadFrom | null,
    begin: (start: ReadStart) => boolean | Promise<boolean>,
    each: TakeCommit,
  ): Promise<Snapshot>;
}

/** Takes a commit; says whether to go on. What is taken in this turn need not be waited for. */
export type TakeCommit = (commit: LoggedCommit, snapshot: Snapshot) => boolean | Promise<boolean>;

/**
 * Takes the snapshot only after the locks, so that nothing it sees can be pruned meanwhile. A log that grows fast has
 * stale statistics, by which the planner would look through all of it.
 */
const BEGIN = `begin isolation level repeatable read read only;
  set local enable_seqscan = off;
  lock table rowcast.log, rowcast.chunk, rowcast.install in access share mode`;

/** What cursors belong to, where `i` is the row of `rowcast.install`: this log of this database on this timeline. */
export const STREAM = `substr(md5(concat_ws(',', (pg_control_system()).system_identifier,
      left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), (select oid from pg_database where datname = current_database()),
      'rowcast.log'::regclass::oid, i.token)), 1, 10)`;

/** The snapshot of a transaction, and what cursors are checked against. */
const MOMENT = `select pg_current_snapshot()::text as snapshot, i.pruned_xid::text as pruned_xid,
    (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as at_us,
    (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text as restarted_at_us,
    ${STREAM} as stream
  from rowcast.install i`;

/** The first commit of an id that a snapshot took for over before it was given anew. Few ids are: those not flushed. */
const REUSED = `select l.xid::text from rowcast.log l
   where l.xid >= $1::xid8 and l.xid < $2::xid8 and pg_visible_in_snapshot(l.xid, $3::pg_snapshot)
     and l.at > timestamptz 'epoch' + $4::bigint * interval '1 microsecond'
   order by l.xid limit 1`;
const REUSED_IDS = 100_000n;

/** From the latest commit back, the first that is large, long ago, or after so many others. */
const TOO_FAR = `select l.xid::text from (
    select xid, at, sum(octet_length(body)) over latest_first as bytes, chunks > 0 as large, row_number() over latest_first as place
      from (select xid, id, at, chunks, body from rowcast.log order by xid desc, id desc limit 5000) last
    window latest_first as (order by xid desc, id desc)) l
   where l.large or l.bytes > ${8 * 1024 * 1024} or l.at < clock_timestamp() - interval '1 minute' or l.place = 5000
   order by l.xid desc limit 1`;

/** Two index scans: what began after the snapshot, and what was open in it. One row a commit, its last. */
const COMMITS = `declare commits no scroll cursor for
  select l.xid::text, l.id::text, l.part, to_json(l.at)#>>'{}' as at, l.chunks,
         case when l.part = 0 and l.chunks = 0 and octet_length(l.body) <= ${64 * 1024} then l.body end as body
    from (select distinct on (xid) *
            from (select * from rowcast.log where xid >= $1::xid8
                  union all
                  select * from rowcast.log where xid = any ($2::xid8[])) parts
           order by xid, part desc) l
   where l.part > 0 or l.xid <> all ($3::xid8[])
   order by l.xid = any ($4::xid8[]) desc, l.id`;

/** What a commit of one part changed: its chunks come in the order of an index, and its own row last. */
const CHUNKS = `declare pieces no scroll cursor for
  select body from rowcast.chunk where xid = $1::xid8 and part = $2 order by part, ticket, id`;
const OWN = 'select body from rowcast.log where xid = $1::xid8 and part = $2';

/** What several parts changed, from part $2 on: a part may hold what a statement of an earlier one caused. */
const PARTS = `declare pieces no scroll cursor for
  select body from (
    select ticket, id, body from rowcast.chunk where xid = $1::xid8 and part >= $2
    union all
    select split_part(body, ' ', 1)::bigint, id, body from rowcast.log where xid = $1::xid8 and part >= $2 and body <> '') all_parts
   order by ticket, id`;

const PAGE_ROWS = 200;
const CHUNK_ROWS = 16;

interface MomentRow {
  snapshot: string;
  pruned_xid: string;
  at_us: string;
  restarted_at_us: string;
  stream: string;
}

interface CommitRow {
  xid: string;
  id: string;
  part: number;
  at: string;
  chunks: number;
  body: string | null;
}

/** What a transaction sees. */
export async function momentOf(client: pg.ClientBase): Promise<Omit<ReadStart, 'reusedFrom' | 'tooFar'>> {
  const { rows } = await client.query<MomentRow>(MOMENT);
  const row = rows[0];
  if (!row) throw new Error('rowcast.install is empty: apply migrations/001_schema.sql again, by psql -f');
  return {
    snapshot: parseSnapshot(row.snapshot, BigInt(row.at_us)),
    prunedXid: BigInt(row.pruned_xid),
    stream: row.stream,
    restartedAtUs: BigInt(row.restarted_at_us),
  };
}

async function reusedFrom(client: pg.ClientBase, seen: Snapshot): Promise<bigint | null> {
  const from = seen.xmax > REUSED_IDS ? seen.xmax - REUSED_IDS : 0n;
  const { rows } = await client.query<{ xid: string }>(REUSED, [
    from.toString(),
    seen.xmax.toString(),
    spellSnapshot(seen),
    seen.atUs.toString(),
  ]);
  return xidIn(rows);
}

async function tooFar(client: pg.ClientBase): Promise<bigint | null> {
  return xidIn((await client.query<{ xid: string }>(TOO_FAR)).rows);
}

function xidIn([row]: readonly { xid: string }[]): bigint | null {
  return row === undefined ? null : BigInt(row.xid);
}

/** Reads with connections of a pool, one for each read while it lasts. */
export function createLogReader(pool: pg.Pool): LogReader {
  async function* largeBodies(client: pg.PoolClient, xid: string, from: number, last: number) {
    await client.query(from < last ? PARTS : CHUNKS, [xid, from]);
    for (;;) {
      const { rows } = await client.query<{ body: string }>(`fetch ${CHUNK_ROWS} from pieces`);
      for (const { body } of rows) yield body;
      if (rows.length < CHUNK_ROWS) break;
    }
    await client.query('close pieces');
    if (from < last) return;
    const own = await client.query<{ body: string }>(OWN, [xid, from]);
    for (const { body } of own.rows) yield body;
  }

  async function* single(body: string) {
    yield body;
  }

  async function readAll(
    client: pg.PoolClient,
    from: () => ReadFrom | null,
    begin: (start: ReadStart) => boolean | Promise<boolean>,
    each: TakeCommit,
  ): Promise<Snapshot> {
    const moment = await momentOf(client);
    const { snapshot } = moment;
    const goesOn = await begin({
      ...moment,
      reusedFrom: (seen) => reusedFrom(client, seen),
      tooFar: () => tooFar(client),
    });
    const where = from();
    if (!goesOn || where === null) return snapshot;
    const { position, first } = where;
    await client.query(COMMITS, [
      position.snapshot.xmax.toString(),
      position.snapshot.inProgress.map(String),
      Array.from(position.delivered, ([xid]) => xid.toString()),
      first.map(String),
    ]);
    for (;;) {
      const page = await client.query<CommitRow>(`fetch ${PAGE_ROWS} from commits`);
      for (const commit of page.rows) {
        const xid = BigInt(commit.xid);
        const id = BigInt(commit.id);
        const skipParts = partsIn(position, xid, id);
        if (skipParts > commit.part) continue;
        const { body } = commit;
        const bodies =
          body === null ? () => largeBodies(client, commit.xid, skipParts, commit.part) : () => single(body);
        const logged = { xid, id, at: commit.at, parts: commit.part + 1, skipParts, body, bodies };
        const taken = each(logged, snapshot);
        if (!(typeof taken === 'boolean' ? taken : await taken)) return snapshot;
      }
      if (page.rows.length < PAGE_ROWS) return snapshot;
    }
  }

  return {
    read: (from, begin, each) => inTransaction(pool, BEGIN, (client) => readAll(client, from, begin, each)),
  };
}
