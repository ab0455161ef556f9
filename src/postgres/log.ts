/**
 * Reads of the log.
 *
 * A read is one REPEATABLE READ transaction: it takes a snapshot and hands on, in order, every commit that the
 * snapshot sees and a position lacks. It holds a page in memory, not more: rows come through a cursor, and a large
 * commit is streamed from its chunks.
 */
import type pg from 'pg';
import { type Position, partsIn, type Snapshot, spellSnapshot } from '../position.ts';
import { linesOf, MOMENT, type Moment, momentIn } from './moment.ts';
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

export interface ReadStart extends Moment {
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
   * database's error; what was handed on before stands. `from` is asked before `begin`, so that the first commits come
   * with the snapshot, and after it: where it says something else then, they are read anew.
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

const PAGE_ROWS = 200;
const NEXT = `fetch ${PAGE_ROWS} from commits`;

/**
 * The first commits that a position lacks, `xid id part at` and below that the body of a small one. Two index scans:
 * what began after the snapshot, and what was open in it. One row a commit, its last.
 */
function commitsFrom({ position: { snapshot, delivered }, first }: ReadFrom): string {
  const beyond = Array.from(delivered, ([xid]) => xid);
  return `declare commits no scroll cursor for
  select concat(l.xid, ' ', l.id, ' ', l.part, ' ', to_json(l.at)#>>'{}',
         case when l.part = 0 and l.chunks = 0 and octet_length(l.body) <= ${64 * 1024} then chr(10) || l.body end)
    from (select distinct on (xid) *
            from (select * from rowcast.log where xid >= '${snapshot.xmax}'::xid8
                  union all
                  select * from rowcast.log where xid = any ('{${snapshot.inProgress}}'::xid8[])) parts
           order by xid, part desc) l
   where l.part > 0 or l.xid <> all ('{${beyond}}'::xid8[])
   order by l.xid = any ('{${first}}'::xid8[]) desc, l.id;
  ${NEXT}`;
}

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

const CHUNK_ROWS = 16;

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
    const ahead = from();
    const asked = ahead && commitsFrom(ahead);
    const [seen, ...found] = await linesOf(client, `${BEGIN}; ${MOMENT}; ${asked ?? ''}`);
    const moment = momentIn(seen);
    const { snapshot } = moment;
    const goesOn = await begin({
      ...moment,
      reusedFrom: (before) => reusedFrom(client, before),
      tooFar: () => tooFar(client),
    });
    const where = from();
    if (!goesOn || where === null) return snapshot;
    const wanted = commitsFrom(where);
    let lines = found;
    if (wanted !== asked) lines = await linesOf(client, asked === null ? wanted : `close commits; ${wanted}`);
    for (;;) {
      for (const line of lines) {
        const commit = commitIn(client, line, where.position);
        if (commit === null) continue;
        const taken = each(commit, snapshot);
        if (!(typeof taken === 'boolean' ? taken : await taken)) return snapshot;
      }
      if (lines.length < PAGE_ROWS) return snapshot;
      lines = await linesOf(client, NEXT);
    }
  }

  /** Null where the position has all of it. */
  function commitIn(client: pg.PoolClient, line: string, position: Position): LoggedCommit | null {
    const end = line.indexOf('\n');
    const body = end < 0 ? null : line.slice(end + 1);
    const [spelled = '', place = '', last = '', at = ''] = (end < 0 ? line : line.slice(0, end)).split(' ');
    const xid = BigInt(spelled);
    const id = BigInt(place);
    const part = Number(last);
    const skipParts = partsIn(position, xid, id);
    if (skipParts > part) return null;
    const bodies = () => (body === null ? largeBodies(client, spelled, skipParts, part) : single(body));
    return { xid, id, at, parts: part + 1, skipParts, body, bodies };
  }

  return {
    read: (from, begin, each) => inTransaction(pool, (client) => readAll(client, from, begin, each)),
  };
}
