/**
 * Families of types: how the values of a column compare.
 *
 * A value is known by its key, a text that two values share if and only if PostgreSQL holds them equal. Types whose
 * equality no text tells (intervals, JSON, arrays) have no family but `other`, where only NULL can be asked for.
 */

import { sortableMoment } from './moment.ts';
import { canonicalNumber, compareNumbers, withoutTrailing } from './number.ts';
import { stringOf } from './scan.ts';

export const OPERATORS = ['eq', 'neq', 'gt', 'gte', 'lt', 'lte', 'in', 'is', 'like', 'ilike'] as const;
export type Operator = (typeof OPERATORS)[number];

export type FamilyName =
  | 'number'
  | 'text'
  | 'char'
  | 'boolean'
  | 'moment'
  | 'ordered'
  | 'enum'
  | 'opaque'
  | 'other';

/** What a filter needs to know of a column. */
export interface ColumnType {
  /** The type as the catalog spells it. */
  readonly type: string;
  /** The type that literals are cast to: a domain's base, without modifiers, schema-qualified, quoted. */
  readonly cast: string;
  readonly family: FamilyName;
  /** Of an enum, in their order. */
  readonly labels: readonly string[];
  /** `ilike` folds ASCII letters alone, as in the locale C. */
  readonly foldsAscii: boolean;
}

/** Gives how a key compares with the literal; undefined where the key is not of the type as it was known. */
type Comparer = (key: string) => number | undefined;

export interface Family {
  readonly operators: readonly Operator[];
  /** The key of a value written as text; undefined for what is no value of the type. */
  keyOf(text: string): string | undefined;
  comparer(literal: string, column: ColumnType): Comparer;
}

const EQUALITY = ['eq', 'neq', 'in', 'is'] as const satisfies readonly Operator[];
const ORDER = ['eq', 'neq', 'gt', 'gte', 'lt', 'lte', 'in', 'is'] as const satisfies readonly Operator[];

function itself(text: string): string {
  return text;
}

function byCodePoints(literal: string): Comparer {
  return (key) => compareCodePoints(key, literal);
}

const NEVER: Comparer = () => undefined;

export const FAMILIES: Readonly<Record<FamilyName, Family>> = {
  number: {
    operators: ORDER,
    keyOf: canonicalNumber,
    comparer: (literal) => (key) => compareNumbers(key, literal),
  },
  text: { operators: OPERATORS, keyOf: itself, comparer: byCodePoints },
  // Trailing blanks say nothing, but to patterns.
  char: { operators: OPERATORS, keyOf: (text) => withoutTrailing(text, ' '), comparer: byCodePoints },
  boolean: {
    operators: ORDER,
    keyOf: (text) => (text === 'true' || text === 'false' ? text : undefined),
    comparer: byCodePoints,
  },
  moment: {
    operators: ORDER,
    keyOf: (text) => (sortableMoment(text) === undefined ? undefined : text),
    comparer(literal) {
      const wanted = sortableMoment(literal);
      return (key) => {
        const own = sortableMoment(key);
        if (own === undefined || wanted === undefined) return undefined;
        return compareCodePoints(own, wanted);
      };
    },
  },
  // Types whose text sorts as they do: uuid, time.
  ordered: { operators: ORDER, keyOf: itself, comparer: byCodePoints },
  enum: {
    operators: ORDER,
    keyOf: itself,
    comparer(literal, { labels }) {
      const ranks = new Map(labels.map((label, rank) => [label, rank]));
      const wanted = ranks.get(literal);
      return (key) => {
        const own = ranks.get(key);
        return own === undefined || wanted === undefined ? undefined : own - wanted;
      };
    },
  },
  opaque: { operators: EQUALITY, keyOf: itself, comparer: () => NEVER },
  other: { operators: ['is'], keyOf: itself, comparer: () => NEVER },
};

const BY_TYPE: Readonly<Record<string, FamilyName>> = {
  int2: 'number',
  int4: 'number',
  int8: 'number',
  numeric: 'number',
  float4: 'number',
  float8: 'number',
  oid: 'number',
  text: 'text',
  varchar: 'text',
  name: 'text',
  bpchar: 'char',
  bool: 'boolean',
  date: 'moment',
  timestamp: 'moment',
  timestamptz: 'moment',
  time: 'ordered',
  uuid: 'ordered',
  bytea: 'opaque',
  inet: 'opaque',
  cidr: 'opaque',
  macaddr: 'opaque',
  macaddr8: 'opaque',
  bit: 'opaque',
  varbit: 'opaque',
  pg_lsn: 'opaque',
};

/** The family of a type: an enum's, or that of one of PostgreSQL's own by its name in the catalog. */
export function familyOf({ isEnum, ownName }: { isEnum: boolean; ownName: string | null }): FamilyName {
  if (isEnum) return 'enum';
  return (ownName !== null && Object.hasOwn(BY_TYPE, ownName) && BY_TYPE[ownName]) || 'other';
}

/** The key of a JSON value; null for NULL, undefined for what is no value of the type. */
export function readKey(family: Family, raw: string): string | null | undefined {
  if (raw === 'null') return null;
  return family.keyOf(stringOf(raw) ?? raw);
}

/** The order of C: by code point, which UTF-16 units alone do not give. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const [unit, other] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (unit !== other) return aboveSurrogates(unit) - aboveSurrogates(other);
  }
  return a.length - b.length;
}

/** Surrogates, which stand for what is above U+FFFF, come after all other units. */
function aboveSurrogates(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x10000 : unit;
}
