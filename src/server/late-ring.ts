import type { Ring } from '../ring.ts';
import type { Afterwards } from './afterwards.ts';

/** A ring that takes pages when their frames have left. It is brought up to date before it is asked or told anything. */
export function createLateRing(ring: Ring, { add, settle }: Afterwards): Ring {
  const upToDate = () => {
    settle();
    return ring;
  };
  return {
    add: (page) => add(() => ring.add(page)),
    mark: (cursor) => upToDate().mark(cursor),
    restart: (cursor) => upToDate().restart(cursor),
    missing: (cursor, position) => upToDate().missing(cursor, position),
    get bytes() {
      return upToDate().bytes;
    },
  };
}
