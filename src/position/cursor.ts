/**
 * Cursors: positions as clients hold them.
 *
 * stream . snapshot . delivered [ . r id snapshot ]… [ . p xid lines ]: numbers in base 36, lists as differences. It
 * promises that what it reads is what was spelled, and that a cursor that somebody made up costs no more than one of
 * its length.
 */
import type { Partial, Position, Reading, Snapshot } from '../position.ts';
import { ProtocolError } from '../protocol.ts';
import { spellingOf } from './spelling.ts';

const DIGITS = /^[0-9a-z]+$/;

/** What is left of what a cursor may make us allocate. */
interface Allowance {
  entries: number;
}

/** More than a feed ever leaves between two snapshots. */
const MAX_ENTRIES = 100_000;
/** Reads broken off one after the other, each before the one that it was to go past. */
const MAX_READINGS = 64;
/** As far as PostgreSQL counts. */
const MAX_NUMBER = 2n ** 64n - 1n;

function readList(text: string, base: bigint, allowance: Allowance): Map<bigint, number> {
  const list = new Map<bigint, number>();
  let next = base;
  for (const item of text === '' ? [] : text.split('~')) {
    const match = /^([0-9a-z]+)(?:-([0-9a-z]{1,6}))?(?:\*([0-9a-z]{1,6}))?$/.exec(item);
    if (!match) throw badCursor();
    const length = match[2] === undefined ? 1 : Number.parseInt(match[2], 36);
    const parts = match[3] === undefined ? 1 : Number.parseInt(match[3], 36);
    allowance.entries -= length;
    if (allowance.entries < 0 || length < 1 || parts < 1) throw badCursor();
    const start = checked(next + readNumber(match[1] ?? ''));
    if (list.has(start)) throw badCursor();
    for (let n = 0n; n < length; n++) list.set(start + n, parts);
    next = checked(start + BigInt(length - 1));
  }
  return list;
}

function readNumber(text: string): bigint {
  if (!DIGITS.test(text) || text.length > 13) throw badCursor();
  let value = 0n;
  for (const digit of text) value = value * 36n + BigInt(Number.parseInt(digit, 36));
  return checked(value);
}

function checked(number: bigint): bigint {
  if (number > MAX_NUMBER) throw badCursor();
  return number;
}

/** A read spells the same two snapshots with each of its commits. */
const spelled = new WeakMap<Snapshot, string>();

function spellShort(snapshot: Snapshot): string {
  let text = spelled.get(snapshot);
  if (text === undefined) {
    const { xmin, xmax, inProgress, atUs } = snapshot;
    const open = spellingOf(
      inProgress.map((xid) => [xid, 1] as const),
      xmin,
    );
    // Joined, it is one piece, and so are not the many texts that hold it.
    text = [xmin.toString(36), (xmax - xmin).toString(36), atUs.toString(36), open].join('_');
    spelled.set(snapshot, text);
  }
  return text;
}

function readShort(text: string, allowance: Allowance): Snapshot {
  const [low, span, at, open, ...more] = text.split('_');
  if (low === undefined || span === undefined || at === undefined || open === undefined || more.length > 0)
    throw badCursor();
  const xmin = readNumber(low);
  const inProgress = [...readList(open, xmin, allowance).keys()];
  return { xmin, xmax: checked(xmin + readNumber(span)), inProgress, atUs: readNumber(at) };
}

function badCursor(): ProtocolError {
  return new ProtocolError(
    'bad_cursor',
    'the cursor is not one that this service gave; take a snapshot instead',
  );
}

/** A snapshot, and what is beyond it: mostly one more than there was the last time, after all others. */
function spellBeyond({ snapshot, delivered }: Position): string {
  const { trail, size } = delivered;
  if (size === 0) return `${spellShort(snapshot)}.`;
  const before = trail?.spelled;
  if (before?.snapshot === snapshot) {
    const added = before.size === size - 1 ? trail?.entries[size - 1] : undefined;
    if (added !== undefined && before.spelling.add(added)) before.size = size;
    if (before.size === size) return before.head + before.spelling.toString();
  }
  const head = `${spellShort(snapshot)}.`;
  const spelling = spellingOf(delivered, snapshot.xmin);
  if (trail !== undefined) trail.spelled = { snapshot, head, spelling, size };
  return head + spelling.toString();
}

/** The cursor of a position in a stream. */
export function spellCursor(stream: string, position: Position): string {
  const { readings, partial } = position;
  let text = `${stream}.${spellBeyond(position)}`;
  for (const reading of readings) text += `.r${reading.id.toString(36)}_${spellShort(reading.snapshot)}`;
  if (partial !== null) text += `.p${partial.xid.toString(36)}_${partial.lines.toString(36)}`;
  return text;
}

/** Whether it is the cursor of a position within a read. */
export function isInRead(cursor: string): boolean {
  const afterStream = cursor.indexOf('.');
  const afterSnapshot = cursor.indexOf('.', afterStream + 1);
  return cursor.startsWith('.r', cursor.indexOf('.', afterSnapshot + 1));
}

/** Reads a cursor. Throws `bad_cursor` when it is none. */
export function readCursor(cursor: string): { stream: string; position: Position } {
  const [stream, short, list, ...rest] = cursor.split('.');
  if (stream === undefined || !DIGITS.test(stream) || short === undefined || list === undefined)
    throw badCursor();
  const allowance = { entries: MAX_ENTRIES };
  const snapshot = readShort(short, allowance);
  const delivered = readList(list, snapshot.xmin, allowance);
  const readings: Reading[] = [];
  let partial: Partial | null = null;
  for (const part of rest) {
    const cut = part.indexOf('_');
    if (cut < 0 || partial !== null || readings.length === MAX_READINGS) throw badCursor();
    const number = readNumber(part.slice(1, cut));
    const text = part.slice(cut + 1);
    if (part.startsWith('r')) readings.push({ id: number, snapshot: readShort(text, allowance) });
    else if (part.startsWith('p')) partial = { xid: number, lines: readLines(text) };
    else throw badCursor();
  }
  return { stream, position: { snapshot, delivered, readings, partial } };
}

function readLines(text: string): number {
  const lines = Number(readNumber(text));
  if (!Number.isSafeInteger(lines)) throw badCursor();
  return lines;
}
