/**
 * How rows are ordered: as the service orders a snapshot (PROTOCOL.md, `subscribe`), as far as values tell it.
 *
 * Numbers by value with NaN above all, text by code points (the collation `C`), false before true, nulls last, or
 * first where descending. The order of enum labels, intervals and other collations is not in the values.
 */
import type { Row } from '../protocol/server-frame.ts';

export type Compare = (a: Row, b: Row) => number;
type IsNumeric = (column: string) => boolean;

const TERM = /^(.+?)(?:\.(asc|desc))?(?:\.(nullsfirst|nullslast))?$/;

/** Compares rows by `column[.asc|.desc][.nullsfirst|.nullslast],…`, then by the columns of the key. Throws a URIError for a stray %. */
export function compareBy(order: string, key: readonly string[], isNumeric: IsNumeric): Compare {
  const terms = [
    ...order
      .split(',')
      .filter((term) => term !== '')
      .map((term) => {
        const [, column = '', direction, nulls] = TERM.exec(term) ?? [];
        const isDescending = direction === 'desc';
        const nullsFirst = nulls ? nulls === 'nullsfirst' : isDescending;
        return compareColumn(
          decodeURIComponent(column),
          isDescending ? -1 : 1,
          nullsFirst ? -1 : 1,
          isNumeric,
        );
      }),
    ...key.map((column) => compareColumn(column, 1, 1, isNumeric)),
  ];
  return (a, b) => {
    for (const term of terms) {
      const result = term(a, b);
      if (result !== 0) return result;
    }
    return 0;
  };
}

function compareColumn(column: string, sign: number, ofNull: number, isNumeric: IsNumeric): Compare {
  return (a, b) => {
    const [x = null, y = null] = [a[column], b[column]];
    if (x === null || y === null) return x === y ? 0 : x === null ? ofNull : -ofNull;
    return sign * compareValues(x, y, isNumeric(column));
  };
}

/** Compares two values that are not null; `numeric` says that strings are numbers. */
export function compareValues(a: unknown, b: unknown, numeric = false): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (isNumber(a) || isNumber(b) || numeric) return compareNumbers(String(a), String(b));
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b);
  return compareText(textOf(a), textOf(b));
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'bigint';
}

/** Doubles tell most numbers apart; where they do not, the digits do. NaN is above infinity, as its text is. */
function compareNumbers(a: string, b: string): number {
  const [x = 0, y = 0] = [a, b].map((text) => (text === 'NaN' ? Number.POSITIVE_INFINITY : Number(text)));
  if (x !== y) return x < y ? -1 : 1;
  if (/[a-z]/i.test(a + b)) return compareText(a, b);
  const scale = Math.max(fractionOf(a).length, fractionOf(b).length);
  const [m = 0n, n = 0n] = [a, b].map((text) =>
    BigInt(text.split('.')[0] + fractionOf(text).padEnd(scale, '0')),
  );
  return m < n ? -1 : Number(m > n);
}

function fractionOf(text: string): string {
  return text.split('.')[1] ?? '';
}

/** By code points: where the texts part, a surrogate pair is one. */
function compareText(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  const [x = -1, y = -1] = [a, b].map((text) => text.codePointAt(at));
  return x - y;
}

/** A value as text that is the same for equal values. */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? `${one}n` : one));
}
