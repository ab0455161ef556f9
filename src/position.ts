/**
 * Positions: which commits someone has got, and the cursor that says so to clients.
 *
 * A position is a PostgreSQL snapshot and what was handed on beyond it. It needs no sequence and no lock: a
 * transaction that is still open is in it as such, however long it stays open, and is missed by nobody when it
 * commits. A position is never changed: what comes after it is a new one.
 */
import { ProtocolError } from './protocol.ts';

/** What `pg_current_snapshot()` says: which transactions had committed or rolled back at a moment. */
export interface Snapshot {
  readonly xmin: bigint;
  readonly xmax: bigint;
  /** Those in between that were still open, in ascending order. */
  readonly inProgress: readonly bigint[];
}

/** Reads `xmin:xmax:xid,xid,…`, PostgreSQL's own spelling. */
export function parseSnapshot(text: string): Snapshot {
  const [xmin, xmax, open] = text.split(':');
  if (xmin === undefined || xmax === undefined || open === undefined) throw new Error(`no snapshot: ${text}`);
  return {
    xmin: BigInt(xmin),
    xmax: BigInt(xmax),
    inProgress: open === '' ? [] : open.split(',').map(BigInt),
  };
}

/** The spelling that PostgreSQL reads. */
export function spellSnapshot({ xmin, xmax, inProgress }: Snapshot): string {
  return `${xmin}:${xmax}:${inProgress.join(',')}`;
}

/** Whether a transaction was over, and so its commit visible, in a snapshot. */
export function isVisible(snapshot: Snapshot, xid: bigint): boolean {
  return xid < snapshot.xmin || (xid < snapshot.xmax && !snapshot.inProgress.includes(xid));
}

/** How far a read of the log, in the order of ids, has come: all visible in `snapshot` up to `id`. */
export interface Reading {
  readonly snapshot: Snapshot;
  readonly id: bigint;
}

/** A large commit of which the first `lines` were handed on. */
export interface Partial {
  readonly xid: bigint;
  readonly lines: number;
}

export interface Position {
  readonly snapshot: Snapshot;
  /** Commits handed on beyond the snapshot, with how many of their parts. */
  readonly delivered: ReadonlyMap<bigint, number>;
  /** Reads of the log that have not come to their end. */
  readonly readings: readonly Reading[];
  readonly partial: Partial | null;
}

/** The position of whoever has got what a snapshot sees. */
export function positionAt(snapshot: Snapshot): Position {
  return { snapshot, delivered: new Map(), readings: [], partial: null };
}

/** How many parts of a commit are in a position; `Infinity` for all there are. `id` is that of its last part. */
export function partsIn(position: Position, xid: bigint, id?: bigint): number {
  if (isVisible(position.snapshot, xid)) return Number.POSITIVE_INFINITY;
  if (id !== undefined && position.readings.some((r) => id <= r.id && isVisible(r.snapshot, xid))) {
    return Number.POSITIVE_INFINITY;
  }
  return position.delivered.get(xid) ?? 0;
}

/** Whether a commit is in a position. */
export function includes(position: Position, xid: bigint, id?: bigint): boolean {
  return partsIn(position, xid, id) > 0;
}

/** The position after one more commit, of so many parts, came beyond the snapshot. */
export function withCommit(position: Position, xid: bigint, parts = 1): Position {
  const delivered = new Map(position.delivered);
  delivered.set(xid, parts);
  return { ...position, delivered, partial: null };
}

/** The position after a read has come to an id. */
export function withReading(position: Position, reading: Reading): Position {
  const others = position.readings.filter(({ id }) => id > reading.id);
  return { ...position, readings: [...others, reading], partial: null };
}

/** The position in the middle of a large commit; null: not in one. */
export function withPartial(position: Position, partial: Partial | null): Position {
  return { ...position, partial };
}

/** A position that each of these, of which there is one at least, has got all of. */
export function leastOf(positions: readonly Position[]): Position {
  const snapshots = positions.map(({ snapshot }) => snapshot);
  const xmax = snapshots.reduce((least, s) => (s.xmax < least ? s.xmax : least), snapshots[0]?.xmax ?? 0n);
  const xmin = snapshots.reduce((least, s) => (s.xmin < least ? s.xmin : least), xmax);
  const open = new Set(snapshots.flatMap(({ inProgress }) => inProgress.filter((xid) => xid < xmax)));
  const inProgress = [...open].sort((a, b) => (a < b ? -1 : 1));
  return positionAt({ xmin, xmax, inProgress });
}

/** Whether something removed from the log, up to `prunedXid`, may be missing from a position. */
export function isPruned(position: Position, prunedXid: bigint): boolean {
  const { xmin, xmax, inProgress } = position.snapshot;
  if (prunedXid < xmin) return false;
  return prunedXid >= xmax || inProgress.some((xid) => xid <= prunedXid && !position.delivered.has(xid));
}

/** Whether all that is in `inner` is in `outer` too. May say no of a position just a little older. */
export function contains(outer: Position, inner: Position): boolean {
  if (inner.partial && !includes(outer, inner.partial.xid)) return false;
  let seen = inner.snapshot.xmax;
  for (const reading of inner.readings) if (reading.snapshot.xmax > seen) seen = reading.snapshot.xmax;
  if (outer.snapshot.xmax < seen) return sameBase(outer, inner);
  for (const xid of outer.snapshot.inProgress) {
    if (isVisible(inner.snapshot, xid) && !outer.delivered.has(xid)) return false;
    if (inner.readings.some((r) => isVisible(r.snapshot, xid)) && !outer.delivered.has(xid)) return false;
  }
  for (const [xid, parts] of inner.delivered) if (partsIn(outer, xid) < parts) return false;
  return true;
}

/** Positions on the same snapshot compare by what came beyond it. */
function sameBase(outer: Position, inner: Position): boolean {
  if (outer.snapshot.xmax !== inner.snapshot.xmax || outer.snapshot.xmin !== inner.snapshot.xmin)
    return false;
  for (const xid of outer.snapshot.inProgress) if (isVisible(inner.snapshot, xid)) return false;
  const covered = inner.readings.every((r) =>
    outer.readings.some((o) => o.id >= r.id && o.snapshot.xmax >= r.snapshot.xmax),
  );
  if (!covered) return false;
  for (const [xid, parts] of inner.delivered) if (partsIn(outer, xid) < parts) return false;
  return true;
}

// ── Cursors ──────────────────────────────────────────────────────────────────────────────────────────────────────
// stream . snapshot . delivered [ . r id snapshot ]… [ . p xid lines ]: numbers in base 36, lists as differences.

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

function spellShort({ xmin, xmax, inProgress }: Snapshot): string {
  const open = spellList(
    inProgress.map((xid) => [xid, 1] as const),
    xmin,
  );
  return `${xmin.toString(36)}_${(xmax - xmin).toString(36)}_${open}`;
}

function readShort(text: string): Snapshot {
  const [low, span, open] = text.split('_');
  if (low === undefined || span === undefined || open === undefined) throw badCursor();
  const xmin = readNumber(low);
  return { xmin, xmax: xmin + readNumber(span), inProgress: [...readList(open, xmin).keys()] };
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
