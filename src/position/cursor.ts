/**
 * Cursors: positions as clients hold them.
 *
 * stream . snapshot . delivered [ . r id snapshot ]… [ . p xid lines ]: numbers in base 36, lists as differences. It
 * promises that what it reads is what was spelled, and that a cursor that somebody made up costs no more than one of
 * its length.
 */
import type { Partial, Position, Reading, Snapshot } from '../position.ts';
import { ProtocolError } from '../protocol.ts';

const DIGITS = /^[0-9a-z]+$/;

function spellList(numbers: Iterable<readonly [bigint, number]>, base: bigint): string {
  const sorted = [...numbers].sort(([a], [b]) => (a < b ? -1 : 1));
  const runs: { start: bigint; length: number; parts: number }[] = [];
  for (const [xid, parts] of sorted) {
    const last = runs.at(-1);
    if (last && last.start + BigInt(last.length) === xid && last.parts === parts) last.length++;
    else runs.push({ start: xid, length: 1, parts });
  }
  let from = base;
  return runs
    .map(({ start, length, parts }) => {
      const text = (start - from).toString(36);
      from = start + BigInt(length - 1);
      return (
        text + (length > 1 ? `-${length.toString(36)}` : '') + (parts > 1 ? `*${parts.toString(36)}` : '')
      );
    })
    .join('~');
}

function readList(text: string, base: bigint): Map<bigint, number> {
  const list = new Map<bigint, number>();
  let from = base;
  for (const item of text === '' ? [] : text.split('~')) {
    const match = /^([0-9a-z]+)(?:-([0-9a-z]{1,6}))?(?:\*([0-9a-z]{1,6}))?$/.exec(item);
    if (!match) throw badCursor();
    const length = match[2] === undefined ? 1 : Number.parseInt(match[2], 36);
    if (list.size + length > MAX_LIST) throw badCursor();
    from += readNumber(match[1] ?? '');
    for (let n = 0; n < length; n++, from++)
      list.set(from, match[3] === undefined ? 1 : Number.parseInt(match[3], 36));
    from--;
  }
  return list;
}

/** More than a feed ever leaves between two snapshots; what a cursor makes us allocate is bounded by it. */
const MAX_LIST = 1_000_000;

function readNumber(text: string): bigint {
  if (!DIGITS.test(text) || text.length > 13) throw badCursor();
  let value = 0n;
  for (const digit of text) value = value * 36n + BigInt(Number.parseInt(digit, 36));
  return value;
}

function spellShort({ xmin, xmax, inProgress, atUs }: Snapshot): string {
  const open = spellList(
    inProgress.map((xid) => [xid, 1] as const),
    xmin,
  );
  return `${xmin.toString(36)}_${(xmax - xmin).toString(36)}_${atUs.toString(36)}_${open}`;
}

function readShort(text: string): Snapshot {
  const [low, span, at, open] = text.split('_');
  if (low === undefined || span === undefined || at === undefined || open === undefined) throw badCursor();
  const xmin = readNumber(low);
  const inProgress = [...readList(open, xmin).keys()];
  return { xmin, xmax: xmin + readNumber(span), inProgress, atUs: readNumber(at) };
}

function badCursor(): ProtocolError {
  return new ProtocolError(
    'bad_cursor',
    'the cursor is not one that this service gave; take a snapshot instead',
  );
}

/** The cursor of a position in a stream. */
export function spellCursor(stream: string, position: Position): string {
  const parts = [
    stream,
    spellShort(position.snapshot),
    spellList(position.delivered, position.snapshot.xmin),
  ];
  for (const { id, snapshot } of position.readings) parts.push(`r${id.toString(36)}_${spellShort(snapshot)}`);
  if (position.partial)
    parts.push(`p${position.partial.xid.toString(36)}_${position.partial.lines.toString(36)}`);
  return parts.join('.');
}

/** Reads a cursor. Throws `bad_cursor` when it is none. */
export function readCursor(cursor: string): { stream: string; position: Position } {
  const [stream, short, list, ...rest] = cursor.split('.');
  if (stream === undefined || !DIGITS.test(stream) || short === undefined || list === undefined)
    throw badCursor();
  const snapshot = readShort(short);
  const readings: Reading[] = [];
  let partial: Partial | null = null;
  for (const part of rest) {
    const cut = part.indexOf('_');
    if (cut < 0) throw badCursor();
    const number = readNumber(part.slice(1, cut));
    if (part.startsWith('r')) readings.push({ id: number, snapshot: readShort(part.slice(cut + 1)) });
    else if (part.startsWith('p')) partial = { xid: number, lines: Number(readNumber(part.slice(cut + 1))) };
    else throw badCursor();
  }
  return { stream, position: { snapshot, delivered: readList(list, snapshot.xmin), readings, partial } };
}
