/**
 * Matching: what the filters of a topic make of a change.
 *
 * It promises PostgreSQL's verdict on every row: numbers of any length exactly, times as instants, text by the order
 * of C, NULL as SQL has it. Rows are looked at as the text that PostgreSQL made of them.
 */
import type { TableChange } from './commit.ts';
import { allHold, type Matcher } from './matching/condition.ts';
import { staleTopic } from './matching/filters.ts';
import { type Rows, rowsOf } from './matching/row.ts';
import type { Effect } from './protocol.ts';

export {
  allHold,
  type Condition,
  compileMatcher,
  type Equality,
  type Matcher,
} from './matching/condition.ts';
export { type ColumnType, FAMILIES, type FamilyName, familyOf } from './matching/family.ts';
export { createFilters, type FiltersOptions } from './matching/filters.ts';
export { type Row, type Rows, rowsOf } from './matching/row.ts';

/** What became of a row, by whether it matched before and matches now; null where it never did. */
export function effectOf(before: boolean, after: boolean): Effect | null {
  if (after) return before ? 'stay' : 'enter';
  return before ? 'leave' : null;
}

/**
 * What a change is to a topic, on its own; null where it concerns it neither before nor after. Throws `bad_topic`
 * where the change lacks a column or has a value that the filters were not made for: the table is another one now.
 */
export function matchChange({ conditions }: Matcher, change: TableChange): Effect | null {
  const { before, after } = scannedRows(
    change,
    conditions.map(({ column }) => column),
  );
  const matched = before !== null && allHold(conditions, before);
  const matches = after === before ? matched : after !== null && allHold(conditions, after);
  if (matched === undefined || matches === undefined) throw staleTopic(change.table);
  return effectOf(matched, matches);
}

/** Changes of the ring are looked at by every client that comes back, mostly for the same columns. */
const scanned = new WeakMap<TableChange, { columns: string; rows: Rows }>();

function scannedRows(change: TableChange, wanted: readonly string[]): Rows {
  const columns = wanted.join('\n');
  const known = scanned.get(change);
  if (known?.columns === columns) return known.rows;
  const rows = rowsOf(change, new Set(wanted));
  scanned.set(change, { columns, rows });
  return rows;
}
