/**
 * Commits as the feed hands them on.
 *
 * A commit is all watched changes of one transaction. One that is not large is a single page; a large one comes
 * in several, one after the other with nothing between them.
 */
import { canonicalTopic, OPS, type Op } from './topic.ts';

export interface TableChange {
  /** The table's oid: what it is, whatever it is called. */
  readonly relation: number;
  /** What it was called, as a canonical topic spells it, `public.messages`. */
  readonly table: string;
  readonly op: Op;
  /** The wire text of the change, a JSON object, without `effect`. */
  readonly wire: string;
}

export interface Page {
  readonly xid: bigint;
  /** Its place in the order of the log. */
  readonly id: bigint;
  /** When the transaction was committed, RFC 3339 in UTC. */
  readonly at: string;
  readonly changes: readonly TableChange[];
  /** How many parts of the transaction there are up to this commit; 1 but where it fired its constraints early. */
  readonly parts: number;
  readonly first: boolean;
  readonly last: boolean;
  /** The cursor of whoever has got this page. */
  readonly cursor: string;
}

/** What the log's lines say besides changes: the settings of a table were changed or removed. */
export interface Lines {
  readonly changes: TableChange[];
  readonly watchingChanged: boolean;
}

const OPERATIONS: Readonly<Record<string, Op>> = { i: 'insert', u: 'update', d: 'delete', t: 'truncate' };

/**
 * Reads a body of the log: lines of `ticket operation oid table TAB rest`, in any order; gives the changes in the order
 * of their tickets. Throws on anything else: the log is ours alone.
 */
export function readLines(body: string): Lines {
  const lines: { ticket: number; change: TableChange }[] = [];
  let watchingChanged = false;
  let sorted = true;
  let last = 0;
  for (let start = 0; start < body.length; ) {
    const end = body.indexOf('\n', start);
    const tab = body.indexOf('\t', start);
    if (end < 0 || tab < 0 || tab > end) throw new Error('a line of the log is cut short');
    const space = body.indexOf(' ', start);
    const ticket = Number(body.slice(start, space));
    const operation = body.charAt(space + 1);
    const afterOid = body.indexOf(' ', space + 3);
    const table = tableOf(body.slice(afterOid + 1, tab));
    const op = OPERATIONS[operation];
    if (op !== undefined) {
      const rest = end > tab + 1 ? `,${body.slice(tab + 1, end)}` : '';
      lines.push({
        ticket,
        change: {
          relation: Number(body.slice(space + 3, afterOid)),
          table: table.key,
          op,
          wire: `{"op":"${op}","table":${table.json}${rest}}`,
        },
      });
      if (ticket < last) sorted = false;
      last = ticket;
    } else if (operation === 'w' || operation === 'x') {
      watchingChanged = true;
    } else {
      throw new Error(`a line of the log has the unknown operation ${JSON.stringify(operation)}`);
    }
    start = end + 1;
  }
  if (!sorted) lines.sort((a, b) => a.ticket - b.ticket);
  return { changes: lines.map(({ change }) => change), watchingChanged };
}

interface TableName {
  readonly key: string;
  readonly json: string;
}

/** Names as the database spells them, and what they become; as many as there are watched tables. */
const names = new Map<string, TableName>();

function tableOf(spelled: string): TableName {
  let name = names.get(spelled);
  if (!name) {
    const [schema, table] = splitIdentifiers(spelled);
    const key = canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] });
    name = { key, json: JSON.stringify(`${schema}.${table}`) };
    names.set(spelled, name);
  }
  return name;
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
