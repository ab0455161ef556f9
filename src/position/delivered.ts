/**
 * What was handed on beyond a snapshot, in the order in which it came.
 *
 * Positions are never changed, and a feed makes a new one with every commit. So those that follow one another share a
 * record, of which each has what was in it when it was made: to add to the newest costs the same however long it is.
 */

/** Transactions, with how many of their parts. */
export interface Delivered extends Iterable<readonly [xid: bigint, parts: number]> {
  readonly size: number;
  get(xid: bigint): number | undefined;
  has(xid: bigint): boolean;
}

/** What positions share. */
export interface Trail {
  readonly entries: (readonly [xid: bigint, parts: number])[];
  readonly places: Map<bigint, number>;
}

/** What is in the trail up to a place. */
class Along implements Delivered {
  readonly trail: Trail;
  readonly size: number;

  constructor(trail: Trail, size: number) {
    this.trail = trail;
    this.size = size;
  }

  get(xid: bigint): number | undefined {
    const place = this.trail.places.get(xid);
    return place === undefined || place >= this.size ? undefined : this.trail.entries[place]?.[1];
  }

  has(xid: bigint): boolean {
    return this.get(xid) !== undefined;
  }

  *[Symbol.iterator](): Iterator<readonly [xid: bigint, parts: number]> {
    for (let place = 0; place < this.size; place++) {
      const entry = this.trail.entries[place];
      if (entry !== undefined) yield entry;
    }
  }
}

export const NONE: Delivered = new Map();

/** What is in `delivered`, and so many parts of one more. */
export function withDelivered(delivered: Delivered, xid: bigint, parts: number): Delivered {
  const trail = trailOf(delivered);
  const isNewest = trail !== null && trail.entries.length === delivered.size && !trail.places.has(xid);
  const { entries, places } = isNewest ? trail : copied(delivered, xid);
  places.set(xid, entries.length);
  entries.push([xid, parts]);
  return new Along(isNewest ? trail : { entries, places }, entries.length);
}

/** The trail that it shares with others; null where it shares none. */
export function trailOf(delivered: Delivered): Trail | null {
  return delivered instanceof Along ? delivered.trail : null;
}

function copied(delivered: Delivered, but: bigint): Trail {
  const entries = [...delivered].filter(([xid]) => xid !== but);
  return { entries, places: new Map(entries.map(([xid], place) => [xid, place])) };
}
