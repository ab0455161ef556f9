/**
 * Conditions: filters made ready to be tried on rows.
 *
 * SQL's logic has three values, but conditions are only ever joined by AND, so what is unknown is as good as false.
 */
import type { Filter, IsValue } from '../topic.ts';
import { type ColumnType, FAMILIES, type Family, readKey } from './family.ts';
import { compilePattern, foldAscii, foldUnicode } from './pattern.ts';
import { stringOf } from './scan.ts';

/** What makes a condition findable by value: it holds for these keys and no other. */
export interface Equality {
  /** Values of different families have different keys. */
  readonly family: string;
  readonly keys: ReadonlySet<string>;
  /** Null for NULL; undefined for what is no value of the column's type as it was. */
  keyOf(raw: string): string | null | undefined;
}

export interface Condition {
  readonly column: string;
  /** Whether it holds for a value, written as JSON; undefined for what is no value of the column's type as it was. */
  test(raw: string): boolean | undefined;
  readonly equality?: Equality;
}

/** The filters of one topic, ready to be tried. */
export interface Matcher {
  /** All of them must hold. */
  readonly conditions: readonly Condition[];
  /** The types that they were made for: the same filters on others are another matcher. */
  readonly types: string;
}

type OrderOperator = 'gt' | 'gte' | 'lt' | 'lte';

const ORDERS: Readonly<Record<OrderOperator, (sign: number) => boolean>> = {
  gt: (sign) => sign > 0,
  gte: (sign) => sign >= 0,
  lt: (sign) => sign < 0,
  lte: (sign) => sign <= 0,
};

/**
 * A matcher of canonical filters on columns that are there; all `eq` and `in` of one column become one condition.
 * Throws `bad_topic` on a pattern that is none.
 */
export function compileMatcher(
  filters: readonly Filter[],
  columns: ReadonlyMap<string, ColumnType>,
): Matcher {
  const equal = new Map<string, Equality>();
  const conditions: Condition[] = [];
  for (const filter of filters) {
    const type = columns.get(filter.column);
    if (type === undefined) throw new Error(`the column ${filter.column} was not looked up`);
    const family = FAMILIES[type.family];
    if (filter.operator === 'eq' || filter.operator === 'in') {
      const keys = new Set(filter.operator === 'in' ? filter.value : [filter.value]);
      const before = equal.get(filter.column)?.keys;
      const both = before === undefined ? keys : new Set([...keys].filter((key) => before.has(key)));
      equal.set(filter.column, { family: type.family, keys: both, keyOf: (raw) => readKey(family, raw) });
    } else {
      conditions.push({ column: filter.column, test: testOf(filter, type, family) });
    }
  }
  for (const [column, equality] of equal) conditions.push(equalityOf(column, equality));
  return { conditions, types: JSON.stringify(filters.map((filter) => typeOf(filter, columns))) };
}

/** What a filter depends on: on the labels of an enum only where it asks for their order. */
function typeOf({ column, operator }: Filter, columns: ReadonlyMap<string, ColumnType>): unknown {
  const type = columns.get(column);
  return operator in ORDERS ? type : { ...type, labels: [] };
}

/** Whether all hold for a row; undefined where it lacks a column, or has a value that is none of its type. */
export function allHold(
  conditions: readonly Condition[],
  row: { get(column: string): string | undefined },
): boolean | undefined {
  for (const condition of conditions) {
    const raw = row.get(condition.column);
    const holds = raw === undefined ? undefined : condition.test(raw);
    if (holds !== true) return holds;
  }
  return true;
}

function equalityOf(column: string, equality: Equality): Condition {
  return {
    column,
    equality,
    test(raw) {
      const key = equality.keyOf(raw);
      return typeof key === 'string' ? equality.keys.has(key) : key === null ? false : undefined;
    },
  };
}

function testOf(
  filter: Exclude<Filter, { operator: 'in' }>,
  type: ColumnType,
  family: Family,
): Condition['test'] {
  switch (filter.operator) {
    case 'is':
      return isTest(filter.value);
    case 'like':
    case 'ilike': {
      const fold = type.foldsAscii ? foldAscii : foldUnicode;
      const matches = compilePattern(filter.value, filter.operator === 'ilike' ? fold : null);
      return (raw) => {
        if (raw === 'null') return false;
        const text = stringOf(raw);
        return text === undefined ? undefined : matches(text);
      };
    }
    case 'eq':
    case 'neq':
      return keyTest(family, (key) => (key === filter.value) === (filter.operator === 'eq'));
    default: {
      const compare = family.comparer(filter.value, type);
      const holds = ORDERS[filter.operator];
      return keyTest(family, (key) => {
        const sign = compare(key);
        return sign === undefined ? undefined : holds(sign);
      });
    }
  }
}

function keyTest(family: Family, holds: (key: string) => boolean | undefined): Condition['test'] {
  return (raw) => {
    const key = readKey(family, raw);
    return typeof key === 'string' ? holds(key) : key === null ? false : undefined;
  };
}

function isTest(value: IsValue): Condition['test'] {
  switch (value) {
    case 'null':
      return (raw) => raw === 'null';
    case 'not_null':
      return (raw) => raw !== 'null';
    default: {
      const wanted = value === 'unknown' ? 'null' : value;
      return (raw) => {
        if (raw !== 'true' && raw !== 'false' && raw !== 'null') return undefined;
        return raw === wanted;
      };
    }
  }
}
