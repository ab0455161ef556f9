/**
 * The row before a change and the row after it, as far as filters look at them.
 *
 * Values stay the text that PostgreSQL made. The row before an update is the row after it, overlaid with `old`.
 */
import type { TableChange } from '../commit.ts';
import { eachMember } from './scan.ts';

/** Columns by name, each value as JSON text. A column that is not there is one that the table has no more. */
export type Row = ReadonlyMap<string, string>;

export interface Rows {
  /** Null for an insert. */
  readonly before: Row | null;
  /** Null for a delete. An update that leaves the wanted columns alone gives the same row twice. */
  readonly after: Row | null;
}

/** The wanted columns of an insert, update or delete. */
export function rowsOf(
  { op, wire }: TableChange,
  wanted: ReadonlyMap<string, unknown> | ReadonlySet<string>,
): Rows {
  const row = new Map<string, string>();
  let changed: Map<string, string> | null = null;
  eachMember(wire, 0, (name, start) => {
    if (name === 'new') {
      read(wire, start, wanted, row);
      return op === 'update';
    }
    if (name !== 'old') return true;
    if (op === 'delete') {
      read(wire, start, wanted, row);
    } else {
      changed = new Map();
      read(wire, start, wanted, changed);
    }
    return false;
  });
  if (op === 'insert') return { before: null, after: row };
  if (op === 'delete') return { before: row, after: null };
  return { before: overlaid(row, changed), after: row };
}

function overlaid(row: Row, changed: Row | null): Row {
  return changed === null || changed.size === 0 ? row : new Map([...row, ...changed]);
}

function read(
  text: string,
  at: number,
  wanted: { has(name: string): boolean; readonly size: number },
  into: Map<string, string>,
): void {
  eachMember(text, at, (written, start, end) => {
    const name = written.includes('\\') ? String(JSON.parse(`"${written}"`)) : written;
    if (wanted.has(name)) into.set(name, text.slice(start, end));
    return into.size < wanted.size;
  });
}
