/**
 * Reads of the log.
 *
 * A read is one REPEATABLE READ transaction: it takes a snapshot and hands on, in order, every commit that the
 * snapshot sees and a position lacks. It holds a page in memory, not more: rows come through a cursor, and a large
 * commit is streamed from its chunks.
 */
import type pg from 'pg';
import { type Position, parseSnapshot, partsIn, type Snapshot } from '../position.ts';

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
  /** Its lines, piece after piece, in the order of parts and tickets. */
  bodies(): AsyncIterable<string>;
}

export interface ReadStart {
  readonly snapshot: Snapshot;
  /** The newest transaction that was pruned. */
  readonly prunedXid: bigint;
  /** What cursors of this database belong to. */
  readonly stream: string;
}

export interface LogReader {
  /**
   * Reads what is missing from a position. `begin` gets the snapshot first and says whether to go on; `each` gets
   * the commits in order. Resolves with the snapshot. Rejects with the database's error; what was handed on before
   * stands.
   */
  read(
    position: () => Position | null,
    begin: (start: ReadStart) => boolean,
    each: (commit: LoggedCommit, snapshot: Snapshot) => Promise<void>,
  ): Promise<Snapshot>;
}

/** Takes the snapshot only after the locks, so that nothing it sees can be pruned meanwhile. */
const BEGIN = `begin isolation level repeatable read read only;
  lock table rowcast.log, rowcast.chunk, rowcast.install in access share mode`;

const START = `select pg_current_snapshot()::text as snapshot, i.pruned_xid::text as pruned_xid,
    substr(md5(concat_ws(',', (pg_control_system()).system_identifier,
      left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), (select oid from pg_database where datname = current_database()),
      i.token)), 1, 10) as stream
  from rowcast.install i`;

/** Two index scans: what began after the snapshot, and what was open in it. One row a commit, its last. */
const COMMITS = `declare commits no scroll cursor for
  select l.xid::text, l.id::text, l.part, to_json(l.at)#>>'{}' as at, l.chunks,
         case when l.part = 0 and l.chunks = 0 and octet_length(l.body) <= ${64 * 1024} then l.body end as body
    from (select * from rowcast.log where xid >= $1::xid8
          union all
          select * from rowcast.log where xid = any ($2::xid8[])) l
   where not exists (select from rowcast.log later where later.xid = l.xid and later.part > l.part)
     and (l.part > 0 or l.xid <> all ($3::xid8[]))
   order by l.xid = $4::xid8 desc, l.id`;

const CHUNKS = `declare chunks no scroll cursor for
  select body from rowcast.chunk where xid = $1::xid8 and part = $2 order by ticket, id`;

const PAGE_ROWS = 200;
const CHUNK_ROWS = 16;

interface CommitRow {
  xid: string;
  id: string;
  part: number;
  at: string;
  chunks: number;
  body: string | null;
}

/** Reads with connections of a pool, one for each read while it lasts. */
export function createLogReader(pool: pg.Pool): LogReader {
  async function* largeBodies(client: pg.PoolClient, xid: string, from: number, last: number) {
    for (let part = from; part <= last; part++) {
      await client.query(CHUNKS, [xid, part]);
      for (;;) {
        const { rows } = await client.query<{ body: string }>(`fetch ${CHUNK_ROWS} from chunks`);
        for (const { body } of rows) yield body;
        if (rows.length < CHUNK_ROWS) break;
      }
      await client.query('close chunks');
      const own = await client.query<{ body: string }>(
        'select body from rowcast.log where xid = $1::xid8 and part = $2',
        [xid, part],
      );
      for (const { body } of own.rows) yield body;
    }
  }

  async function* single(body: string) {
    yield body;
  }

  async function readAll(
    client: pg.PoolClient,
    position: () => Position | null,
    begin: (start: ReadStart) => boolean,
    each: (commit: LoggedCommit, snapshot: Snapshot) => Promise<void>,
  ): Promise<Snapshot> {
    await client.query(BEGIN);
    const { rows } = await client.query<{ snapshot: string; pruned_xid: string; stream: string }>(START);
    const row = rows[0];
    if (!row) throw new Error('rowcast.install is empty: run rowcast migrate');
    const snapshot = parseSnapshot(row.snapshot);
    const goesOn = begin({ snapshot, prunedXid: BigInt(row.pruned_xid), stream: row.stream });
    const from = position();
    if (!goesOn || from === null) return snapshot;
    await client.query(COMMITS, [
      from.snapshot.xmax.toString(),
      from.snapshot.inProgress.map(String),
      [...from.delivered.keys()].map(String),
      (from.partial?.xid ?? 0n).toString(),
    ]);
    for (;;) {
      const page = await client.query<CommitRow>(`fetch ${PAGE_ROWS} from commits`);
      for (const commit of page.rows) {
        const xid = BigInt(commit.xid);
        const id = BigInt(commit.id);
        const skipParts = partsIn(from, xid, id);
        if (skipParts > commit.part) continue;
        const { body } = commit;
        const bodies =
          body === null ? () => largeBodies(client, commit.xid, skipParts, commit.part) : () => single(body);
        await each({ xid, id, at: commit.at, parts: commit.part + 1, skipParts, bodies }, snapshot);
      }
      if (page.rows.length < PAGE_ROWS) return snapshot;
    }
  }

  return {
    async read(position, begin, each) {
      const client = await pool.connect();
      let failed: Error | undefined;
      try {
        const snapshot = await readAll(client, position, begin, each);
        await client.query('commit');
        return snapshot;
      } catch (error) {
        failed = error instanceof Error ? error : new Error(String(error));
        throw error;
      } finally {
        // A connection whose transaction failed is not used again.
        client.release(failed);
      }
    },
  };
}
