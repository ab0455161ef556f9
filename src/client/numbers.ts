/**
 * JSON whose numbers keep their digits, where the caller asks for it.
 *
 * `JSON.parse` tells a reviver the text of a number in newer engines only. So that all engines agree, the numbers that
 * a double might not hold are put in quotes behind a mark first; PostgreSQL cannot store that mark, so no text has it.
 */
import type { ServerFrame } from '../protocol/server-frame.ts';

/** `double`: as `JSON.parse` does. `exact`: integers past 2^53 are bigint, numbers with a fraction or exponent strings. */
export type Numbers = 'double' | 'exact';

export interface Json {
  /** A frame of the service, which keeps to PROTOCOL.md. */
  parse(text: string): ServerFrame;
  stringify(value: unknown): string;
  /** Whether strings in such a column are numbers. */
  isNumeric(column: string): boolean;
}

const MARK = '\0';
/** What tells where strings are, and numbers, which are none within strings. */
const PARTS = /\\.|"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const SHORT_INTEGER = /^-?\d{1,15}$/;

export function createJson(numbers: Numbers): Json {
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
      if (numbers === 'double') return JSON.parse(text);
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
    isNumeric: (column) => numeric.has(column),
  };
}
