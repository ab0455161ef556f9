/**
 * How rows are ordered: as the service orders a snapshot (PROTOCOL.md, `subscribe`), as far as values tell it.
 *
 * Numbers by value with NaN above all, text by code points (the collation `C`), false before true, nulls last, or
 * first where descending. The order of enum labels, intervals and other collations is not in the values.
 */
import type { Row } from '../protocol/server-frame.ts';
import type { Numbers } from './numbers.ts';

export type Compare = (a: Row, b: Row) => number;

const TERM = /^(.+?)(?:\.(asc|desc))?(?:\.(nullsfirst|nullslast))?$/;

/** Compares rows by `column[.asc|.desc][.nullsfirst|.nullslast],…`, then by the columns of the key. Throws a URIError for a stray %. */
export function compareBy(order: string, key: readonly string[] = [], numbers: Numbers = JSON): Compare {
  const terms = [...order.split(','), ...key.map((column) => `${encodeURIComponent(column)}.asc`)]
    .filter(Boolean)
    .map((term): Compare => {
      const [, column = '', direction, nulls] = TERM.exec(term) ?? [];
      const name = decodeURIComponent(column);
      const sign = direction === 'desc' ? -1 : 1;
      const ofNull = nulls ? (nulls === 'nullsfirst' ? -1 : 1) : sign;
      return (a, b) => {
        const x = a[name] ?? null;
        const y = b[name] ?? null;
        if (x === null || y === null) return x === y ? 0 : x === null ? ofNull : -ofNull;
        return sign * compareValues(x, y, numbers, name);
      };
    });
  return (a, b) => {
    for (const term of terms) {
      const result = term(a, b);
      if (result) return result;
    }
    return 0;
  };
}

/** Compares two values that are not null. */
export function compareValues(a: unknown, b: unknown, numbers: Numbers = JSON, column = ''): number {
  const result = numbers.compare?.(a, b, column);
  if (result !== undefined) return result;
  // JSON has infinities and NaN as strings.
  if (typeof a === 'number' || typeof b === 'number')
    return Number(a) - Number(b) || Number(a === 'NaN') - Number(b === 'NaN');
  const textOf = (one: unknown) => (typeof one === 'string' ? one : numbers.stringify(one));
  return compareText(textOf(a), textOf(b));
}

/** By code points: where the texts part, a surrogate pair is one. */
function compareText(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return (a.codePointAt(at) ?? -1) - (b.codePointAt(at) ?? -1);
}
