/**
 * Positions: which commits someone has got, and the cursor that says so to clients.
 *
 * A position is a PostgreSQL snapshot and what was handed on beyond it. It needs no sequence and no lock: a
 * transaction that is still open is in it as such, however long it stays open, and is missed by nobody when it
 * commits. A position is never changed: what comes after it is a new one.
 */
import { type Delivered, NONE, withDelivered } from './position/delivered.ts';

/** What `pg_current_snapshot()` says: which transactions had committed or rolled back at a moment. */
export interface Snapshot {
  readonly xmin: bigint;
  readonly xmax: bigint;
  /** Those in between that were still open, in ascending order. */
  readonly inProgress: readonly bigint[];
  /**
   * When it was taken, in microseconds since the epoch by the server's clock. A server that crashes gives the ids of
   * transactions that left no trace to others afterwards: what this snapshot took for over, comes again.
   */
  readonly atUs: bigint;
}

/** Reads `xmin:xmax:xid,xid,…`, PostgreSQL's own spelling. */
export function parseSnapshot(text: string, atUs: bigint): Snapshot {
  const [xmin, xmax, open] = text.split(':');
  if (xmin === undefined || xmax === undefined || open === undefined) throw new Error(`no snapshot: ${text}`);
  const inProgress = open === '' ? [] : open.split(',').map(BigInt);
  return { xmin: BigInt(xmin), xmax: BigInt(xmax), inProgress, atUs };
}

/** The spelling that PostgreSQL reads. */
export function spellSnapshot({ xmin, xmax, inProgress }: Snapshot): string {
  return `${xmin}:${xmax}:${inProgress.join(',')}`;
}

/** Whether a transaction was over, and so its commit visible, in a snapshot. */
export function isVisible(snapshot: Snapshot, xid: bigint): boolean {
  return xid < snapshot.xmin || (xid < snapshot.xmax && !isAmong(snapshot.inProgress, xid));
}

/** Whether it is in an ascending list. */
function isAmong(list: readonly bigint[], xid: bigint): boolean {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = list[middle];
    if (at !== undefined && at < xid) low = middle + 1;
    else high = middle;
  }
  return list[low] === xid;
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
  readonly delivered: Delivered;
  /** Reads of the log that have not come to their end. */
  readonly readings: readonly Reading[];
  readonly partial: Partial | null;
}

/** The position of whoever has got what a snapshot sees. */
export function positionAt(snapshot: Snapshot): Position {
  return { snapshot, delivered: NONE, readings: [], partial: null };
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
  const { snapshot, delivered, readings } = position;
  return { snapshot, delivered: withDelivered(delivered, xid, parts), readings, partial: null };
}

/** The position after a read has come to an id. */
export function withReading(position: Position, reading: Reading): Position {
  const { snapshot, delivered, readings } = position;
  const [first] = readings;
  // Mostly it is the only one, which goes on.
  const goesOn = first === undefined || (readings.length === 1 && first.id <= reading.id);
  const all = goesOn ? [reading] : [...readings.filter(({ id }) => id > reading.id), reading];
  return { snapshot, delivered, readings: all, partial: null };
}

/** The position in the middle of a large commit; null: not in one. */
export function withPartial(position: Position, partial: Partial | null): Position {
  return { ...position, partial };
}

/** The snapshot without what is at `xid` or later: those ids were given anew since. */
export function cutAt(snapshot: Snapshot, xid: bigint): Snapshot {
  const { xmin, inProgress, atUs } = snapshot;
  return {
    xmin: xmin < xid ? xmin : xid,
    xmax: xid,
    inProgress: inProgress.filter((open) => open < xid),
    atUs,
  };
}

/** A position that each of these, of which there is one at least, has got all of. */
export function leastOf(positions: readonly Position[]): Position {
  const snapshots = positions.map(({ snapshot }) => snapshot);
  const xmax = snapshots.reduce((least, s) => (s.xmax < least ? s.xmax : least), snapshots[0]?.xmax ?? 0n);
  const xmin = snapshots.reduce((least, s) => (s.xmin < least ? s.xmin : least), xmax);
  const open = new Set(snapshots.flatMap(({ inProgress }) => inProgress.filter((xid) => xid < xmax)));
  const inProgress = [...open].sort((a, b) => (a < b ? -1 : 1));
  const atUs = snapshots.reduce((latest, s) => (s.atUs > latest ? s.atUs : latest), 0n);
  return positionAt({ xmin, xmax, inProgress, atUs });
}

/**
 * Whether something removed from the log, up to `prunedXid`, may be missing from a position. What is still open `now`
 * was not removed: it may stay open for longer than the log goes back.
 */
export function isPruned(position: Position, prunedXid: bigint, now: Snapshot): boolean {
  const { xmin, xmax, inProgress } = position.snapshot;
  if (prunedXid < xmin) return false;
  if (prunedXid >= xmax) return true;
  return inProgress.some((xid) => xid <= prunedXid && isVisible(now, xid) && !position.delivered.has(xid));
}

/** Whether all that is in `inner` is in `outer` too. May say no of a position just a little older. */
export function contains(outer: Position, inner: Position): boolean {
  // Of what came beyond its snapshot, `outer` may not have every part.
  if (inner.partial && !isVisible(outer.snapshot, inner.partial.xid)) return false;
  let seen = inner.snapshot.xmax;
  for (const reading of inner.readings) if (reading.snapshot.xmax > seen) seen = reading.snapshot.xmax;
  if (outer.snapshot.xmax < seen) return sameBase(outer, inner);
  for (const xid of outer.snapshot.inProgress) {
    if (isVisible(inner.snapshot, xid)) return false;
    if (inner.readings.some((r) => isVisible(r.snapshot, xid))) return false;
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
    outer.readings.some((o) => o.id >= r.id && isWithin(r.snapshot, o.snapshot)),
  );
  if (!covered) return false;
  for (const [xid, parts] of inner.delivered) if (partsIn(outer, xid) < parts) return false;
  return true;
}

/** Whether a snapshot sees nothing that a later one does not. */
function isWithin(earlier: Snapshot, later: Snapshot): boolean {
  return earlier.xmax <= later.xmax && !later.inProgress.some((xid) => isVisible(earlier, xid));
}
