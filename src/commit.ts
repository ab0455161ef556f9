/**
 * Commits as the feed hands them on.
 *
 * A commit is all watched changes of one transaction, and its messages. One that is not large is a single page; a
 * large one comes in several, one after the other with nothing between them, and each message is the last of its page.
 */
import { canonicalTopic, inboxOf, OPS, type Op, type Topic } from './topic.ts';

export interface TableChange {
  /** The table's oid: what it is, whatever it is called. */
  readonly relation: number;
  /** What it was called, as a canonical topic spells it, `public.messages`. */
  readonly table: string;
  readonly op: Op;
  /** The wire text of the change, a JSON object, without `effect`. */
  readonly wire: string;
}

/** A message as it was published or sent. */
export interface Message {
  readonly op: 'message';
  /** Of the channel; or the inbox of one user. */
  readonly topic: Topic;
  /** The members of its frame that the sender gave, as JSON. */
  readonly wire: string;
}

export type Line = TableChange | Message;

export interface Page {
  readonly xid: bigint;
  /** Its place in the order of the log. */
  readonly id: bigint;
  /** When the transaction was committed, RFC 3339 in UTC. */
  readonly at: string;
  readonly changes: readonly TableChange[];
  /** What came after these changes. */
  readonly message: Message | null;
  /** Whether later pages of the commit may have changes. */
  readonly changesFollow: boolean;
  /** How many parts of the transaction there are up to this commit; 1 but where it fired its constraints early. */
  readonly parts: number;
  /** How many of them are not in it: they were handed on before. */
  readonly skipParts: number;
  readonly first: boolean;
  readonly last: boolean;
  /** The cursor of whoever has got this page. */
  readonly cursor: string;
}

/** How many lines of its commit a page has. */
export function linesIn({ changes, message }: Pick<Page, 'changes' | 'message'>): number {
  return changes.length + (message === null ? 0 : 1);
}

export interface Lines {
  readonly lines: readonly Line[];
  /** The settings of a table were changed or removed. */
  readonly watchingChanged: boolean;
  /** What an instance tells all of them, as JSON. */
  readonly announced: readonly string[];
}

const OPERATIONS: Readonly<Record<string, Op>> = { i: 'insert', u: 'update', d: 'delete', t: 'truncate' };

/**
 * Reads a body of the log: lines of `ticket operation oid name TAB rest`, in any order; gives them in the order of
 * their tickets. Throws on anything else: the log is ours alone.
 */
export function readLines(body: string): Lines {
  const lines: Line[] = [];
  const tickets: number[] = [];
  const announced: string[] = [];
  let watchingChanged = false;
  let sorted = true;
  let last = 0;
  for (let start = 0; start < body.length; ) {
    const end = body.indexOf('\n', start);
    const tab = body.indexOf('\t', start);
    if (end < 0 || tab < 0 || tab > end) throw new Error('a line of the log is cut short');
    const space = body.indexOf(' ', start);
    const what = body.slice(space + 1, tab);
    const operation = what.charAt(0);
    const rest = body.slice(tab + 1, end);
    if (operation === 'w' || operation === 'x') {
      watchingChanged = true;
    } else if (operation === 'k') {
      announced.push(rest);
    } else {
      const ticket = Number(body.slice(start, space));
      tickets.push(ticket);
      lines.push(lineOf(what, rest));
      if (ticket < last) sorted = false;
      last = ticket;
    }
    start = end + 1;
  }
  return { lines: sorted ? lines : inOrder(lines, tickets), watchingChanged, announced };
}

function inOrder(lines: readonly Line[], tickets: readonly number[]): Line[] {
  const ticketed = lines.map((line, nth) => ({ line, ticket: tickets[nth] ?? 0 }));
  return ticketed.sort((a, b) => a.ticket - b.ticket).map(({ line }) => line);
}

function lineOf(what: string, rest: string): Line {
  const head = headOf(what);
  if (head !== undefined) {
    const { relation, table, op, wire } = head;
    return { relation, table, op, wire: rest === '' ? `${wire}}` : `${wire},${rest}}` };
  }
  const { operation, name } = splitHead(what);
  if (operation === 'm')
    return { op: 'message', topic: canonicalTopic({ kind: 'channel', name: textOf(name) }), wire: rest };
  if (operation === 'p') return { op: 'message', topic: inboxOf(textOf(name)), wire: rest };
  throw new Error(`a line of the log has the unknown operation ${JSON.stringify(operation)}`);
}

function textOf(json: string): string {
  return String(JSON.parse(json));
}

/** Operation, oid and name, as they stand in a line. */
function splitHead(what: string): { operation: string; oid: string; name: string } {
  const afterOid = what.indexOf(' ', 2);
  return { operation: what.charAt(0), oid: what.slice(2, afterOid), name: what.slice(afterOid + 1) };
}

/**
 * What changes of one operation on a table have in common, by how their lines begin: as many as there are operations
 * on watched tables. Their wire text goes on after `wire`.
 */
const heads = new Map<string, TableChange>();
/** Anyone may NOTIFY of tables that are not there. */
const MAX_HEADS = 10_000;

/** Undefined where it is no change. */
function headOf(what: string): TableChange | undefined {
  const known = heads.get(what);
  if (known !== undefined) return known;
  const op = OPERATIONS[what.charAt(0)];
  if (op === undefined) return undefined;
  const { oid, name } = splitHead(what);
  const [schema, table] = splitIdentifiers(name);
  const head: TableChange = {
    relation: Number(oid),
    table: canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] }),
    op,
    wire: `{"op":"${op}","table":${JSON.stringify(`${schema}.${table}`)}`,
  };
  if (heads.size === MAX_HEADS) heads.clear();
  heads.set(what, head);
  return head;
}

/** Splits `schema.table`, each quoted where SQL needs it. */
export function splitIdentifiers(spelled: string): [string, string] {
  const parts = [...spelled.matchAll(/"((?:[^"]|"")*)"|([^".]+)/g)].map(([, quoted, plain]) =>
    quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'),
  );
  const [schema, table, ...more] = parts;
  if (schema === undefined || table === undefined || more.length > 0) {
    throw new Error(`a line of the log names no table: ${spelled}`);
  }
  return [schema, table];
}
