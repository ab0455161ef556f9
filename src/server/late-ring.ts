import type { Page } from '../commit.ts';
import type { Ring } from '../ring.ts';
import type { Afterwards } from './afterwards.ts';

/** So many pages wait at the most. */
const MOST = 64;

/** A ring that takes pages when their frames have left. It is brought up to date before it is asked or told anything. */
export function createLateRing(ring: Ring, { add, settle }: Afterwards): Ring {
  let waiting: Page[] = [];
  const take = () => {
    const pages = waiting;
    waiting = [];
    for (const page of pages) ring.add(page);
  };
  const upToDate = () => {
    settle();
    return ring;
  };
  return {
    add(page) {
      const count = waiting.push(page);
      if (count === 1) add(take);
      else if (count === MOST) take();
    },
    mark: (cursor) => upToDate().mark(cursor),
    restart: (cursor) => upToDate().restart(cursor),
    missing: (cursor, position) => upToDate().missing(cursor, position),
    get bytes() {
      return upToDate().bytes;
    },
  };
}
