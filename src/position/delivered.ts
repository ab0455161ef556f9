/**
 * What was handed on beyond a snapshot, in the order in which it came.
 *
 * Positions are never changed, and a feed makes a new one with every commit. So those that follow one another share a
 * record, of which each has what was in it when it was made: to add to the newest costs the same however long it is.
 */
import type { Spelling } from './spelling.ts';

/** Transactions, with how many of their parts. */
export interface Delivered extends Iterable<readonly [xid: bigint, parts: number]> {
  readonly size: number;
  /** What it shares with others. */
  readonly trail?: Trail;
  get(xid: bigint): number | undefined;
  has(xid: bigint): boolean;
}

interface Spelled {
  readonly snapshot: object;
  readonly head: string;
  readonly spelling: Spelling;
  size: number;
}

/** What positions share. */
export class Trail {
  readonly entries: (readonly [xid: bigint, parts: number])[];
  /** How a cursor spells a snapshot, and the first `size` of these beyond it. */
  spelled: Spelled | null = null;
  readonly #places = new Map<bigint, number>();
  /** How many of them have their place there. */
  #placed = 0;
  /** No xid is above it. */
  #highest = -1n;

  constructor(entries: (readonly [xid: bigint, parts: number])[]) {
    this.entries = entries;
    for (const [xid] of entries) if (xid > this.#highest) this.#highest = xid;
  }

  push(xid: bigint, parts: number): void {
    this.entries.push([xid, parts]);
    if (xid > this.#highest) this.#highest = xid;
  }

  /** Mostly it is asked for what is above all others: places are filled in when it is not. */
  placeOf(xid: bigint): number | undefined {
    if (xid > this.#highest) return undefined;
    for (; this.#placed < this.entries.length; this.#placed++) {
      const entry = this.entries[this.#placed];
      if (entry !== undefined) this.#places.set(entry[0], this.#placed);
    }
    return this.#places.get(xid);
  }
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
    const place = this.trail.placeOf(xid);
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
  const { trail } = delivered;
  const isNewest =
    trail !== undefined && trail.entries.length === delivered.size && trail.placeOf(xid) === undefined;
  const extended = isNewest ? trail : new Trail([...delivered].filter(([one]) => one !== xid));
  extended.push(xid, parts);
  return new Along(extended, extended.entries.length);
}
