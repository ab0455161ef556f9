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
  /** The same where none of them is a message, as mostly; else null. */
  readonly changes: readonly TableChange[] | null;
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
  const change = onlyChange(body);
  if (change !== null) return { lines: change, changes: change, watchingChanged: false, announced: NOTHING };
  const changes: TableChange[] = [];
  /** From the first message on. */
  let mixed: Line[] | null = null;
  const tickets: number[] = [];
  const announced: string[] = [];
  let watchingChanged = false;
  let sorted = true;
  let last = 0;
  for (let start = 0; start < body.length; ) {
    const end = body.indexOf('\n', start);
    const space = body.indexOf(' ', start);
    if (end < 0 || space > end) throw cutShort();
    const line = lineAt(body, space + 1, end);
    if (line.op === 'watching') {
      watchingChanged = true;
    } else if (line.op === 'announced') {
      announced.push(line.wire);
    } else {
      if (line.op === 'message') mixed ??= [...changes];
      if (mixed !== null) mixed.push(line);
      else if (line.op !== 'message') changes.push(line);
      const ticket = Number(body.slice(start, space));
      tickets.push(ticket);
      if (ticket < last) sorted = false;
      last = ticket;
    }
    start = end + 1;
  }
  if (mixed !== null) {
    return { lines: sorted ? mixed : inOrder(mixed, tickets), changes: null, watchingChanged, announced };
  }
  const ordered = sorted ? changes : inOrder(changes, tickets);
  return { lines: ordered, changes: ordered, watchingChanged, announced };
}

const NOTHING: readonly string[] = [];

/** The change that a body consists of, as mostly; null where there is more, or else. */
function onlyChange(body: string): readonly [TableChange] | null {
  const end = body.length - 1;
  const space = body.indexOf(' ');
  if (space < 0 || body.indexOf('\n') !== end) return null;
  const line = lineAt(body, space + 1, end);
  return line.op === 'message' || line.op === 'watching' || line.op === 'announced' ? null : [line];
}

function cutShort(): Error {
  return new Error('a line of the log is cut short');
}

function inOrder<L extends Line>(lines: readonly L[], tickets: readonly number[]): L[] {
  const ticketed = lines.map((line, nth) => ({ line, ticket: tickets[nth] ?? 0 }));
  return ticketed.sort((a, b) => a.ticket - b.ticket).map(({ line }) => line);
}

/** What a line says: of rows, by a client or a service, of what is watched, or by an instance. */
type Said = Line | { readonly op: 'watching' } | { readonly op: 'announced'; readonly wire: string };

/** What the line says that goes on there after its ticket. */
function lineAt(body: string, from: number, end: number): Said {
  // Mostly it is of the table of the line before.
  if (latest !== undefined && body.startsWith(latest.text, from)) {
    return changeOf(latest, body.slice(from + latest.text.length, end));
  }
  const tab = body.indexOf('\t', from);
  if (tab < 0 || tab > end) throw cutShort();
  const text = body.slice(from, tab + 1);
  const rest = body.slice(tab + 1, end);
  const head = heads.get(text) ?? headOf(text);
  if (head === undefined) return otherOf(text, rest);
  latest = head;
  return changeOf(head, rest);
}

/** Its text is joined, into one piece: added up, it would keep all of the body for as long as it is kept. */
function changeOf({ relation, table, op, wire }: Head, rest: string): TableChange {
  return { relation, table, op, wire: [wire, rest === '' ? '' : ',', rest, '}'].join('') };
}

function otherOf(text: string, rest: string): Said {
  const { operation, name } = splitHead(text);
  switch (operation) {
    case 'm':
      return { op: 'message', topic: canonicalTopic({ kind: 'channel', name: textOf(name) }), wire: rest };
    case 'p':
      return { op: 'message', topic: inboxOf(textOf(name)), wire: rest };
    case 'k':
      return { op: 'announced', wire: rest };
    case 'w':
    case 'x':
      return { op: 'watching' };
    default:
      throw new Error(`a line of the log has the unknown operation ${JSON.stringify(operation)}`);
  }
}

function textOf(json: string): string {
  return String(JSON.parse(json));
}

/** Operation, oid and name, as they stand in a line before its tab. */
function splitHead(text: string): { operation: string; oid: string; name: string } {
  const afterOid = text.indexOf(' ', 2);
  return { operation: text.charAt(0), oid: text.slice(2, afterOid), name: text.slice(afterOid + 1, -1) };
}

/** What changes of one operation on a table have in common: their wire text goes on after `wire`. */
interface Head extends TableChange {
  /** How their lines begin after the ticket, the tab included. */
  readonly text: string;
}

/** As many as there are operations on watched tables. */
const heads = new Map<string, Head>();
let latest: Head | undefined;
/** Anyone may NOTIFY of tables that are not there. */
const MAX_HEADS = 10_000;

/** Undefined where it is no change. */
function headOf(text: string): Head | undefined {
  const op = OPERATIONS[text.charAt(0)];
  if (op === undefined) return undefined;
  const { oid, name } = splitHead(text);
  const [schema, table] = splitIdentifiers(name);
  const head: Head = {
    text,
    relation: Number(oid),
    table: canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] }),
    op,
    wire: `{"op":"${op}","table":${JSON.stringify(`${schema}.${table}`)}`,
  };
  if (heads.size === MAX_HEADS) heads.clear();
  heads.set(text, head);
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
