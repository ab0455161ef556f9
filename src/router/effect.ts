/**
 * Effects: how a change looks on a filtered topic.
 *
 * Works on the change's text: rows are not parsed, so their numbers keep every digit.
 */
import { eachMember } from '../matching/scan.ts';
import type { Effect } from '../protocol.ts';

/**
 * The wire text of a change with its effect. `leave` keeps the key alone: a row that a client
 * may not see (any more) is not shown. Throws on a text that is no change with a key.
 */
export function withEffect(wire: string, effect: Effect): string {
  const kept = effect === 'leave' ? wire.slice(0, endOfKey(wire)) : wire.slice(0, -1);
  return `${kept},"effect":"${effect}"}`;
}

function endOfKey(wire: string): number {
  let keyEnd: number | undefined;
  eachMember(wire, 0, (name, _start, end) => {
    if (name === 'key') keyEnd = end;
    return keyEnd === undefined;
  });
  if (keyEnd === undefined) throw new Error('a change without a key has no effect');
  return keyEnd;
}
