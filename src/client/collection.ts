/**
 * A table as a client knows it: rows in order, kept right by changes.
 *
 * It owns no connection and tells nobody. Of a limited one it knows more rows than it shows, up to a horizon, so that
 * a row that leaves is followed by the next; when it knows too few, it shows nothing new until it is begun anew.
 */
import type { Change, Row } from '../protocol/server-frame.ts';
import { type Compare, compareBy, textOf } from './order.ts';

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
export type Wanted = { readonly order?: string; readonly limit?: number };

const MOST_ROWS = 1_000_000;
const SPARE_ROWS = 20;
/** With so few to spare, it is time to ask for more. */
const FEW_ROWS = 5;

export class Collection<T extends Row> {
  /** In order; another array only when something changed, and equal rows are the same objects. */
  rows: readonly T[] = [];
  readonly #order: string;
  readonly #limit: number | undefined;
  readonly #isNumeric: (column: string) => boolean;
  #key: readonly string[] | undefined;
  #compare: Compare;
  /** As it was begun with: by its key, where it is complete and the key is not known. */
  #given: readonly T[] = [];
  #known: T[] = [];
  #byKey = new Map<string, T>();
  /** The last row of which all before it are known; undefined where all rows are. */
  #horizon: T | undefined;
  #begunAnew = false;

  constructor({ order = '', limit, key }: CollectionOptions, isNumeric: (column: string) => boolean) {
    if (limit !== undefined && !(limit >= 1))
      throw new RangeError(`"limit" is ${limit}; it must be 1 or more`);
    this.#order = order;
    this.#limit = limit;
    this.#isNumeric = isNumeric;
    this.#key = key;
    this.#compare = compareBy(order, key ?? [], isNumeric);
  }

  /** What to ask the service for: of limited rows some to spare, of all rows no order, as they are put in order here. */
  get wanted(): Wanted {
    const order = this.#order;
    if (this.#limit === undefined) return {};
    const limit = this.#sizeOf(this.#limit);
    return order === '' ? { limit } : { order, limit };
  }

  /** It lacks rows that it should show, or soon will. */
  get isLow(): boolean {
    return this.#lacks(FEW_ROWS);
  }

  /** Takes these for all that is known. */
  begin({ rows, complete, key }: Beginning<T>): void {
    this.#given = rows;
    this.#known = [...rows];
    this.#horizon = complete ? undefined : this.#known.at(-1);
    this.#begunAnew = true;
    this.#arrange(this.#key ?? key);
  }

  /** The beginning of another collection that wants that, if this one knows enough. */
  offer({ order = '', limit }: Wanted): Beginning<T> | undefined {
    const complete = this.#horizon === undefined;
    const enough = limit !== undefined && limit <= this.#known.length && order === this.#order;
    return complete || enough
      ? { rows: this.#key ? this.#known : this.#given, complete, key: this.#key }
      : undefined;
  }

  /** Applies the changes of one transaction. */
  apply(changes: readonly Change[]): void {
    // Many changes at once are cheaper sorted than put in their places one by one.
    const many = changes.length > 8 + this.#known.length / 8;
    for (const change of changes) {
      if (change.op === 'truncate') {
        this.#given = this.#known = [];
        this.#byKey.clear();
        this.#horizon = undefined;
        continue;
      }
      if (this.#key === undefined) this.#arrange(Object.keys(change.key));
      const key = this.#keyOf(change.key);
      this.#remove(key, many);
      if ('new' in change && this.#isWithin(change.new)) this.#put(key, change.new, many);
    }
    if (many) this.#known = [...this.#byKey.values()].sort(this.#compare);
    this.#trim();
  }

  /** Shows what is known, unless it is short. True where `rows` is another array. */
  show(): boolean {
    if (this.#lacks(0)) return false;
    if (this.#begunAnew) this.#keepEqualRows();
    this.#begunAnew = false;
    const shown = this.#known.slice(0, this.#limit);
    if (shown.length === this.rows.length && shown.every((row, at) => row === this.rows[at])) return false;
    this.rows = shown;
    return true;
  }

  #lacks(spare: number): boolean {
    if (this.#limit === undefined || this.#horizon === undefined) return false;
    return this.#known.length < this.#limit + spare;
  }

  #sizeOf(limit: number): number {
    return Math.max(limit, Math.min(MOST_ROWS, Math.ceil(limit * 1.5) + SPARE_ROWS));
  }

  #keyOf(row: Row): string {
    return (this.#key ?? []).map((column) => textOf([row[column]])).join();
  }

  #isWithin(row: Row): row is T {
    return this.#horizon === undefined || this.#compare(row, this.#horizon) <= 0;
  }

  /** Puts in order and finds by key what is known, by a key that may have been learnt just now. */
  #arrange(key: readonly string[] | undefined): void {
    this.#key = key;
    this.#compare = compareBy(this.#order, key ?? [], this.#isNumeric);
    this.#known.sort(this.#compare);
    if (this.#horizon !== undefined) this.#horizon = this.#known.at(-1) ?? this.#horizon;
    this.#byKey = key ? new Map(this.#known.map((row) => [this.#keyOf(row), row])) : new Map();
  }

  #remove(key: string, unplaced: boolean): void {
    const row = this.#byKey.get(key);
    if (row === undefined) return;
    this.#byKey.delete(key);
    if (unplaced) return;
    // Rows that cannot be told apart by their values stand side by side.
    const at = this.#known.indexOf(row, this.#placeOf(row));
    if (at >= 0) this.#known.splice(at, 1);
  }

  #put(key: string, row: T, unplaced: boolean): void {
    this.#byKey.set(key, row);
    if (!unplaced) this.#known.splice(this.#placeOf(row), 0, row);
  }

  /** Where the first row stands that is not before this one. */
  #placeOf(row: T): number {
    let [low, high] = [0, this.#known.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#known[middle];
      if (other !== undefined && this.#compare(other, row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Forgets what has been pushed far beyond the limit. */
  #trim(): void {
    if (this.#limit === undefined) return;
    const size = this.#sizeOf(this.#limit);
    if (this.#known.length <= 2 * size) return;
    for (const row of this.#known.splice(size)) this.#byKey.delete(this.#keyOf(row));
    this.#horizon = this.#known.at(-1);
  }

  #keepEqualRows(): void {
    const shown = new Map(this.rows.map((row) => [textOf(row), row]));
    this.#known = this.#known.map((row) => shown.get(textOf(row)) ?? row);
    this.#arrange(this.#key);
  }
}
