/**
 * What rowcast captured of a piece of work: what the log holds, and what the NOTIFYs said.
 *
 * Reads the log as a reader does, and promises that a NOTIFY with lines says what the
 * log says, that each is about a commit of the log, and that tickets rise.
 */
import type pg from 'pg';
import type { Database } from './database.ts';
import { until } from './facts.ts';

/** A row, or some of its columns, as JSON. */
export type Row = Record<string, unknown>;

/** One change in its wire form, read. */
export interface Change {
  op: string;
  /** As SQL spells it. */
  table: string;
  key?: Row;
  new?: Row;
  old?: Row;
}

/** All that one transaction left. */
export interface Commit {
  xid: string;
  /** In their final order. */
  changes: Change[];
  /** The same, unread: what follows the tab of each line. */
  texts: string[];
  /** Rows in `rowcast.log` and in `rowcast.chunk`. */
  rows: number;
  chunks: number;
  notifies: number;
  /** The NOTIFY had the changes in it. */
  inline: boolean;
}

/** A watcher of the log and the channel. */
export interface Captured {
  /** The connection on which work given as SQL is done. */
  readonly writer: pg.Client;
  /** Does the work, and gives the commits that it left, in their order. Several statements in one text are one transaction. */
  of(work: Work): Promise<Commit[]>;
  /** The same where one commit is expected, with one row of the log and one NOTIFY. */
  one(work: Work): Promise<Commit>;
  /** The changes of that one commit. */
  changes(work: Work): Promise<Change[]>;
  /** Ends its connections. */
  close(): Promise<void>;
}

export type Work = string | (() => Promise<unknown>);

interface Piece {
  xid: string;
  id: string;
  part: number;
  body: string;
}
interface Part extends Piece {
  chunks: number;
}
interface Chunk extends Piece {
  ticket: string;
}
interface Line {
  ticket: bigint;
  change: Change;
  text: string;
}

const MARK = 'captured_mark';
const OPS: Record<string, string> = {
  i: 'insert',
  u: 'update',
  d: 'delete',
  t: 'truncate',
  w: 'watch',
  x: 'unwatch',
};

/** Begins to listen on a database. */
export async function captured(database: Pick<Database, 'client'>): Promise<Captured> {
  const [ear, writer] = await Promise.all([database.client(), database.client()]);
  const heard: string[] = [];
  let mark = '';
  let marks = 0;
  ear.on('notification', ({ channel, payload = '' }) => {
    if (channel === MARK) mark = payload;
    else heard.push(payload);
  });
  await ear.query(`listen rowcast; listen ${MARK}`);
  // As a leader that is calm: else a NOTIFY says only that there is something to read.
  await ear.query(`select pg_advisory_lock(hashtext('rowcast'), 6)`);

  async function of(work: Work): Promise<Commit[]> {
    const before = await ear.query<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot');
    const snapshot = before.rows[0]?.snapshot;
    heard.length = 0;
    if (typeof work === 'string') await writer.query(work);
    else await work();
    // Notifications come in the order of commits, this one last.
    const last = String(++marks);
    await ear.query('select pg_notify($1, $2)', [MARK, last]);
    await until(() => mark === last, { what: 'all notifications' });

    const since = 'where not pg_visible_in_snapshot(xid, $1::text::pg_snapshot)';
    const parts = await ear.query<Part>(
      `select xid::text, id::text, part, chunks, body from rowcast.log ${since} order by log.id`,
      [snapshot],
    );
    const chunks = await ear.query<Chunk>(
      `select xid::text, id::text, part, ticket::text, body from rowcast.chunk ${since} order by chunk.ticket, chunk.id`,
      [snapshot],
    );
    const commits = new Map<string, Commit>();
    for (const part of parts.rows) {
      const own = chunks.rows.filter(({ xid, part: of }) => xid === part.xid && of === part.part);
      if (own.length !== part.chunks) throw new Error(`${own.length} chunks of ${part.chunks} are there`);
      const commit = commits.get(part.xid) ?? emptyCommit(part.xid);
      commits.delete(part.xid);
      commits.set(part.xid, commit);
      if (commit.rows++ !== part.part) throw new Error(`part ${part.part} is not in its place`);
      commit.chunks += own.length;
    }
    for (const commit of commits.values()) {
      const own = (piece: Piece) => piece.xid === commit.xid;
      read(commit, chunks.rows.filter(own), parts.rows.filter(own));
    }
    for (const payload of heard) hear(payload, commits, parts.rows);
    return [...commits.values()];
  }

  async function one(work: Work): Promise<Commit> {
    const commits = await of(work);
    const [commit] = commits;
    if (commit === undefined || commits.length > 1) throw new Error(`${commits.length} commits, not one`);
    if (commit.rows !== 1) throw new Error(`${commit.rows} rows of the log, not one`);
    if (commit.notifies !== 1) throw new Error(`${commit.notifies} NOTIFYs, not one`);
    return commit;
  }

  return {
    writer,
    of,
    one,
    changes: async (work) => (await one(work)).changes,
    async close() {
      await Promise.all([ear.end(), writer.end()]);
    },
  };
}

function emptyCommit(xid: string): Commit {
  return { xid, changes: [], texts: [], rows: 0, chunks: 0, notifies: 0, inline: false };
}

/** Reads the pieces one after the other, as a reader does who cannot hold all of them. */
function read(commit: Commit, chunks: readonly Chunk[], parts: readonly Part[]): void {
  const pieces = [
    ...chunks,
    ...parts.map((part) => ({ ...part, ticket: /^\d*/.exec(part.body)?.[0] ?? '' })),
  ];
  // A commit of one part has its own row last; of several, each piece where its ticket says.
  if (parts.length > 1) {
    pieces.sort((a, b) => Number(BigInt(a.ticket) - BigInt(b.ticket)) || Number(BigInt(a.id) - BigInt(b.id)));
  }
  let ticket = -1n;
  for (const line of pieces.flatMap(({ body }) => linesOf(body))) {
    if (line.ticket < ticket) throw new Error(`ticket ${line.ticket} comes after ${ticket}`);
    ticket = line.ticket;
    commit.changes.push(line.change);
    commit.texts.push(line.text);
  }
}

/** Counts a NOTIFY on its commit, and compares its lines with the log. */
function hear(payload: string, commits: Map<string, Commit>, parts: readonly Part[]): void {
  const end = payload.indexOf('\n');
  const header = end < 0 ? payload : payload.slice(0, end);
  const [xid = '', id, at] = header.split(' ');
  const commit = commits.get(xid);
  if (commit === undefined) throw new Error(`a NOTIFY about ${xid}, of which the log holds nothing`);
  commit.notifies++;
  if (end < 0) {
    if (header !== xid) throw new Error(`a NOTIFY without lines has more than the xid: ${header}`);
    return;
  }
  commit.inline = true;
  const part = parts.find((one) => one.xid === xid && one.id === id);
  if (part?.body !== payload.slice(end + 1)) throw new Error('the NOTIFY and the log differ');
  if (!/^"\d{4}-\d\d-\d\dT[\d:.]+[+-][\d:]+"$/.test(at ?? '')) throw new Error(`no time in ${header}`);
}

/** The lines of one body in the order of their tickets. */
function linesOf(body: string): Line[] {
  if (body === '') return [];
  if (!body.endsWith('\n')) throw new Error('a body that ends within a line');
  return body
    .slice(0, -1)
    .split('\n')
    .map(readLine)
    .sort((a, b) => (a.ticket < b.ticket ? -1 : a.ticket > b.ticket ? 1 : 0));
}

function readLine(line: string): Line {
  const match = /^(\d+) (\w) \d+ ([^\t]+)\t(.*)$/s.exec(line);
  const [, ticket, op = '', table, text] = match ?? [];
  if (ticket === undefined || table === undefined || text === undefined) throw new Error(`no line: ${line}`);
  const members: Pick<Change, 'key' | 'new' | 'old'> = JSON.parse(`{${text}}`);
  return {
    ticket: BigInt(ticket),
    change: { op: OPS[op] ?? op, table, ...members },
    text,
  };
}
