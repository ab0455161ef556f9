/**
 * Effects: how a change looks on a filtered topic.
 *
 * Works on the change's text: rows are not parsed, so their numbers keep every digit.
 */
import type { Effect } from '../protocol.ts';

/**
 * The wire text of a change with its effect. `leave` keeps the key alone: a row that a client
 * may not see (any more) is not shown. Throws on a text that is no change with a key.
 */
export function withEffect(wire: string, effect: Effect): string {
  const kept = effect === 'leave' ? wire.slice(0, endOfKey(wire)) : wire.slice(0, -1);
  return `${kept},"effect":"${effect}"}`;
}

/** Where the object behind `"key":` ends. It is looked for outside of strings: a table may be called anything. */
function endOfKey(wire: string): number {
  let depth = 0;
  let inKey = false;
  for (let at = 0; at < wire.length; at++) {
    const char = wire.charAt(at);
    if (char === '"') {
      const end = endOfString(wire, at);
      if (wire.startsWith('"key":', at)) inKey = true;
      at = end;
    } else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') {
      depth--;
      if (inKey && depth === 1) return at + 1;
    }
  }
  throw new Error('a change without a key has no effect');
}

/** Where the string that begins at `at` has its closing quote. */
function endOfString(wire: string, at: number): number {
  for (let end = at + 1; end < wire.length; end++) {
    const char = wire.charAt(end);
    if (char === '\\') end++;
    else if (char === '"') return end;
  }
  return wire.length;
}
