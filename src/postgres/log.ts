/**
 * Reads of the log.
 *
 * A read is one REPEATABLE READ transaction: it takes a snapshot and hands on, in order, every commit that the
 * snapshot sees and a position lacks. It holds a page in memory, not more: rows come through a cursor, and a large
 * commit is streamed from its chunks.
 */
import type pg from 'pg';
import { type Position, partsIn, type Snapshot } from '../position.ts';
import { linesOf, MOMENT, type Moment, momentIn } from './moment.ts';
import { type ReadStart, startOf } from './read-start.ts';
import { inTransaction, onConnection } from './transaction.ts';

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
   * with the snapshot, and after it: where it says something else then, they are read anew, and with a later snapshot
   * `begin` may be called again.
   */
  read(from: () => ReadFrom | null, begin: Begin, each: TakeCommit): Promise<Snapshot>;
}

export type Begin = (start: ReadStart) => boolean | Promise<boolean>;

/** Takes a commit; says whether to go on. What is taken in this turn need not be waited for. */
export type TakeCommit = (commit: LoggedCommit, snapshot: Snapshot) => boolean | Promise<boolean>;

/**
 * Takes the snapshot only after the locks, so that nothing it sees can be pruned meanwhile. A log that grows fast has
 * stale statistics, by which the planner would look through all of it.
 */
const BEGIN = `begin isolation level repeatable read read only;
  set local enable_seqscan = off;
  lock table rowcast.log, rowcast.chunk, rowcast.install in access share mode`;

const PAGE_ROWS = 200;
const NEXT = `fetch ${PAGE_ROWS} from commits`;

/**
 * The first commits that a position lacks, `xid id part at` and below that the body of a small one. Two index scans:
 * what began after the snapshot, and what was open in it. One row a commit, its last.
 */
function commitsFrom({ position, first }: ReadFrom): string {
  const { snapshot, delivered } = position;
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

/** Whether a commit's body is to be had elsewhere. */
const isLarge = (line: string) => !line.includes('\n');

const CHUNK_ROWS = 16;

/** Reads with connections of a pool, one for each read while it lasts. */
export function createLogReader(pool: pg.Pool): LogReader {
  /** The last read was one of few commits, and small: so will be the next. */
  let isLittle = false;

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

  /**
   * All of it in one message, and so in one transaction, as mostly. Null, with nothing handed on, where it is more than
   * a page or large, or where the moment changes what it is read from.
   */
  async function readAtOnce(from: () => ReadFrom | null, begin: Begin, each: TakeCommit) {
    const ahead = from();
    if (ahead === null) return null;
    const asked = commitsFrom(ahead);
    const text = `${BEGIN}; ${MOMENT}; ${asked}; commit`;
    const [seen, ...lines] = await onConnection(pool, (client) => linesOf(client, text));
    if (lines.length === PAGE_ROWS || lines.some(isLarge)) return null;
    const moment = momentIn(seen);
    const goesOn = await begin(startOf(moment, pool));
    const where = from();
    if (!goesOn || where === null) return moment.snapshot;
    if (commitsFrom(where) !== asked) return null;
    await handOn(lines, where, moment, each, null);
    return moment.snapshot;
  }

  async function readAll(client: pg.PoolClient, from: () => ReadFrom | null, begin: Begin, each: TakeCommit) {
    const ahead = from();
    const asked = ahead && commitsFrom(ahead);
    const [seen, ...found] = await linesOf(client, `${BEGIN}; ${MOMENT}; ${asked ?? ''}`);
    const moment = momentIn(seen);
    const goesOn = await begin(startOf(moment, client));
    const where = from();
    if (!goesOn || where === null) return moment.snapshot;
    const wanted = commitsFrom(where);
    let lines = found;
    if (wanted !== asked) lines = await linesOf(client, asked === null ? wanted : `close commits; ${wanted}`);
    isLittle = lines.length < PAGE_ROWS && !lines.some(isLarge);
    while ((await handOn(lines, where, moment, each, client)) && lines.length === PAGE_ROWS)
      lines = await linesOf(client, NEXT);
    return moment.snapshot;
  }

  /** False where whoever takes them has enough. */
  async function handOn(
    lines: readonly string[],
    { position }: ReadFrom,
    { snapshot }: Moment,
    each: TakeCommit,
    client: pg.PoolClient | null,
  ): Promise<boolean> {
    for (const line of lines) {
      const commit = commitIn(client, line, position);
      if (commit === null) continue;
      const taken = each(commit, snapshot);
      if (!(typeof taken === 'boolean' ? taken : await taken)) return false;
    }
    return true;
  }

  /** Null where the position has all of it. Without a client it is a small one. */
  function commitIn(client: pg.PoolClient | null, line: string, position: Position): LoggedCommit | null {
    const end = line.indexOf('\n');
    const body = end < 0 ? null : line.slice(end + 1);
    const [spelled = '', place = '', last = '', at = ''] = (end < 0 ? line : line.slice(0, end)).split(' ');
    const xid = BigInt(spelled);
    const id = BigInt(place);
    const part = Number(last);
    const skipParts = partsIn(position, xid, id);
    if (skipParts > part) return null;
    const bodies = () =>
      client !== null && body === null ? largeBodies(client, spelled, skipParts, part) : single(body ?? '');
    return { xid, id, at, parts: part + 1, skipParts, body, bodies };
  }

  return {
    async read(from, begin, each) {
      const wasLittle = isLittle;
      isLittle = false;
      const snapshot = wasLittle ? await readAtOnce(from, begin, each) : null;
      if (snapshot === null) return inTransaction(pool, (client) => readAll(client, from, begin, each));
      isLittle = true;
      return snapshot;
    },
  };
}
