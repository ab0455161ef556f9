/**
 * `rowcast/client/exact`: numbers that keep their digits.
 *
 * `JSON.parse` tells a reviver the text of a number in newer engines only. So that all engines agree, the numbers that
 * a double might not hold are put in quotes behind a mark first; PostgreSQL cannot store that mark, so no text has it.
 */
import type { Numbers } from './numbers.ts';

const MARK = '\0';
/** What tells where strings are, and numbers, which are none within strings. */
const PARTS = /\\.|"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const SHORT_INTEGER = /^-?\d{1,15}$/;

/** For `createClient({ numbers: exact })`: integers past 2^53 are bigint, numbers with a fraction or exponent strings. */
export function exact(): Numbers {
  /** The columns in which strings are numbers. */
  const numeric = new Set<string>();

  function revive(name: string, value: unknown): unknown {
    if (typeof value !== 'string' || value[0] !== MARK) return value;
    const digits = value.slice(1);
    if (!/^-?\d+$/.test(digits)) {
      numeric.add(name);
      return digits;
    }
    const integer = Number(digits);
    return Number.isSafeInteger(integer) ? integer : BigInt(digits);
  }

  return {
    parse(text) {
      let isQuoted = false;
      const marked = text.replace(PARTS, (part) => {
        if (part === '"') isQuoted = !isQuoted;
        return isQuoted || /^["\\]/.test(part) || SHORT_INTEGER.test(part) ? part : `"\\u0000${part}"`;
      });
      return JSON.parse(marked, revive);
    },
    stringify: (value) =>
      JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? MARK + one : one)).replace(
        /"\\u0000(-?\d+)"/g,
        '$1',
      ),
    compare: (a, b, column) =>
      isNumber(a) || isNumber(b) || numeric.has(column) ? compareNumbers(String(a), String(b)) : undefined,
  };
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'bigint';
}

/** Doubles tell most numbers apart; where they do not, the digits do. NaN is above infinity, as its text is. */
function compareNumbers(a: string, b: string): number {
  const [x = 0, y = 0] = [a, b].map((text) => (text === 'NaN' ? Number.POSITIVE_INFINITY : Number(text)));
  if (x !== y) return x < y ? -1 : 1;
  if (/[a-z]/i.test(a + b)) return a < b ? -1 : Number(a > b);
  const scale = Math.max(fractionOf(a).length, fractionOf(b).length);
  const [m = 0n, n = 0n] = [a, b].map((text) =>
    BigInt(text.split('.')[0] + fractionOf(text).padEnd(scale, '0')),
  );
  return m < n ? -1 : Number(m > n);
}

function fractionOf(text: string): string {
  return text.split('.')[1] ?? '';
}
