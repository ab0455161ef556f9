/**
 * Groups: the topics of a table whose equality filters are on the same columns, found by the values there.
 *
 * It promises that finding the topics of a row costs the same however many there are, and that nothing stays of one
 * that was removed.
 */
import type { Condition, Equality, Matcher, Row } from '../matching.ts';

/** A topic in a group, with what the index does not tell of it. */
export interface Entry<R> {
  readonly route: R;
  readonly rest: readonly Condition[];
  /** The keys under which it is found. */
  readonly keys: ReadonlySet<string>;
}

interface Indexed {
  readonly column: string;
  readonly equality: Equality;
}

/** How a matcher is indexed. */
export interface Plan {
  /** The same for all of one group. */
  readonly signature: string;
  readonly indexed: readonly Indexed[];
  readonly rest: readonly Condition[];
}

/** Lists whose combinations are more than this are found by one of their columns alone. */
export const MOST_KEYS = 1000;

/** Null for a matcher without equality filters. */
export function planOf({ conditions }: Matcher): Plan | null {
  let indexed = conditions.flatMap(({ column, equality }) =>
    equality === undefined ? [] : [{ column, equality }],
  );
  indexed.sort((a, b) => a.equality.keys.size - b.equality.keys.size);
  const [fewest] = indexed;
  if (fewest === undefined) return null;
  const combinations = indexed.reduce((product, { equality }) => product * equality.keys.size, 1);
  if (combinations > MOST_KEYS) indexed = [fewest];
  indexed.sort((a, b) => (a.column < b.column ? -1 : 1));
  const columns = new Set(indexed.map(({ column }) => column));
  return {
    signature: JSON.stringify(indexed.map(({ column, equality }) => [column, equality.family])),
    indexed,
    rest: conditions.filter(({ column, equality }) => equality === undefined || !columns.has(column)),
  };
}

export class Group<R> {
  readonly #indexed: readonly Indexed[];
  readonly #entries = new Map<R, Entry<R>>();
  readonly #byKey = new Map<string, Set<Entry<R>>>();

  constructor({ indexed }: Plan) {
    this.#indexed = indexed;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Distinct values under which topics are found. */
  get keys(): number {
    return this.#byKey.size;
  }

  routes(): Iterable<R> {
    return this.#entries.keys();
  }

  add(route: R, { indexed, rest }: Plan): void {
    const keys = new Set(combine(indexed.map(({ equality }) => [...equality.keys])));
    const entry = { route, rest, keys };
    this.#entries.set(route, entry);
    for (const key of keys) {
      const beside = this.#byKey.get(key);
      if (beside === undefined) this.#byKey.set(key, new Set([entry]));
      else beside.add(entry);
    }
  }

  remove(route: R): void {
    const entry = this.#entries.get(route);
    if (entry === undefined) return;
    this.#entries.delete(route);
    for (const key of entry.keys) {
      const beside = this.#byKey.get(key);
      beside?.delete(entry);
      if (beside?.size === 0) this.#byKey.delete(key);
    }
  }

  /** The key of a row; null where a NULL equals nothing, undefined where a value is none of its column's type. */
  keyOf(row: Row): string | null | undefined {
    let joined: string | null = null;
    for (const { column, equality } of this.#indexed) {
      const raw = row.get(column);
      const key = raw === undefined ? undefined : equality.keyOf(raw);
      if (typeof key !== 'string') return key;
      joined = joined === null ? key : joined + SEPARATOR + key;
    }
    return joined;
  }

  find(key: string): Iterable<Entry<R>> {
    return this.#byKey.get(key) ?? [];
  }
}

/** No text of PostgreSQL's holds it. */
const SEPARATOR = '\0';

function combine(lists: readonly (readonly string[])[]): readonly string[] {
  return lists.reduce<readonly string[]>(
    (heads, list, index) =>
      index === 0 ? list : heads.flatMap((head) => list.map((key) => head + SEPARATOR + key)),
    [],
  );
}
