/**
 * A table as a client knows it: rows in order, kept right by changes.
 *
 * It owns no connection and tells nobody. Of a limited one it knows more rows than it shows, up to a horizon, so that
 * a row that leaves is followed by the next; when it knows too few, it shows nothing new until it is begun anew.
 */
import type { Change, Row } from '../protocol/server-frame.ts';
import type { Numbers } from './numbers.ts';
import { type Compare, compareBy } from './order.ts';

export interface CollectionOptions {
  /** As in the protocol: `created_at.desc,name.asc.nullsfirst`. Among equals, and where it is left out, the key decides. */
  readonly order?: string | undefined;
  /** At most so many rows, the first in order; 1 or more. */
  readonly limit?: number | undefined;
  /** The columns of the key. Left out, they are learnt from the first change. */
  readonly key?: readonly string[] | undefined;
}

/** The rows that a collection is begun with: all that match (`complete`), or the first in its order. */
export interface Beginning<T extends Row = Row> {
  readonly rows: readonly T[];
  readonly complete: boolean;
  /** Where it is known. */
  readonly key?: readonly string[] | undefined;
}

/** What is asked of the service. */
export type Wanted = { readonly order?: string | undefined; readonly limit?: number | undefined };

export interface Collection<T extends Row = Row> {
  /** In order; another array only when something changed, and equal rows are the same objects. */
  readonly rows: readonly T[];
  /** What to ask the service for: of limited rows some to spare, of all rows no order, as they are put in order here. */
  readonly wanted: Wanted;
  /** It lacks rows that it should show, or soon will. */
  readonly isLow: boolean;
  /** Takes these for all that is known. */
  begin(beginning: Beginning<T>): void;
  /** The beginning of another collection that wants that, if this one knows enough. */
  offer(wanted: Wanted): Beginning<T> | undefined;
  /** Applies the changes of one transaction. */
  apply(changes: readonly Change[]): void;
  /** Shows what is known, unless it is short. True where `rows` is another array. */
  show(): boolean;
}

/** No limit. */
export const ALL = Number.POSITIVE_INFINITY;
const MOST_ROWS = 1_000_000;
const SPARE_ROWS = 20;
/** With so few to spare, it is time to ask for more. */
const FEW_ROWS = 5;

export function createCollection<T extends Row = Row>(
  { order = '', limit = ALL, key }: CollectionOptions,
  numbers: Numbers = JSON,
): Collection<T> {
  if (!(limit >= 1)) throw new RangeError(`"limit" is ${limit}; it must be 1 or more`);
  const size = Math.max(limit, Math.min(MOST_ROWS, Math.ceil(limit * 1.5) + SPARE_ROWS));
  let compare: Compare = compareBy(order, key, numbers);
  let rows: readonly T[] = [];
  /** As it was begun with: by its key, where it is complete and the key is not known. */
  let given: readonly T[] = rows;
  let known: T[] = [];
  let byKey = new Map<string, T>();
  /** The last row of which all before it are known; undefined where all rows are. */
  let horizon: T | undefined;

  function lacks(spare: number): boolean {
    return !!horizon && known.length < limit + spare;
  }

  function keyOf(row: Row): string {
    return numbers.stringify(key?.map((column) => row[column]));
  }

  function isWithin(row: Row): row is T {
    return !horizon || compare(row, horizon) <= 0;
  }

  /** Puts in order and finds by key what is known, by a key that may have been learnt just now. */
  function arrange(by: readonly string[] | undefined): void {
    key = by;
    compare = compareBy(order, key, numbers);
    known.sort(compare);
    horizon &&= known.at(-1);
    byKey = new Map(key && known.map((row) => [keyOf(row), row]));
  }

  /** Where the first row stands that is not before this one. */
  function placeOf(row: T): number {
    let low = 0;
    let high = known.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = known[middle];
      if (other && compare(other, row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  return {
    get rows() {
      return rows;
    },
    wanted: limit < ALL ? { limit: size, order: order || undefined } : {},
    get isLow() {
      return lacks(FEW_ROWS);
    },
    begin(beginning) {
      const shown = new Map(rows.map((row) => [numbers.stringify(row), row]));
      given = beginning.rows.map((row) => shown.get(numbers.stringify(row)) ?? row);
      known = [...given];
      horizon = beginning.complete ? undefined : known.at(-1);
      arrange(key ?? beginning.key);
    },
    offer(wanted) {
      const complete = !horizon;
      const enough = (wanted.limit ?? ALL) <= known.length && (wanted.order ?? '') === order;
      return complete || enough ? { rows: key ? known : given, complete, key } : undefined;
    },
    apply(changes) {
      // Many changes at once are cheaper sorted than put in their places one by one.
      const many = changes.length > 8 + known.length / 8;
      for (const change of changes) {
        if (change.op === 'truncate') {
          given = known = [];
          byKey.clear();
          horizon = undefined;
          continue;
        }
        if (!key) arrange(Object.keys(change.key));
        const id = keyOf(change.key);
        const old = byKey.get(id);
        byKey.delete(id);
        if (old && !many) {
          // Rows that cannot be told apart by their values stand side by side.
          const at = known.indexOf(old, placeOf(old));
          if (at >= 0) known.splice(at, 1);
        }
        if ('new' in change && isWithin(change.new)) {
          byKey.set(id, change.new);
          if (!many) known.splice(placeOf(change.new), 0, change.new);
        }
      }
      if (many) known = [...byKey.values()].sort(compare);
      // Forgets what has been pushed far beyond the limit.
      if (known.length > 2 * size) {
        for (const row of known.splice(size)) byKey.delete(keyOf(row));
        horizon = known.at(-1);
      }
    },
    show() {
      const shown = known.slice(0, limit);
      if (lacks(0) || (shown.length === rows.length && shown.every((row, at) => row === rows[at])))
        return false;
      rows = shown;
      return true;
    },
  };
}
