/**
 * The bell: by it the leader tells the others that the log has something that no NOTIFY will tell of.
 *
 * It promises that what was in the log before `ring` is read by whoever hears; rings that come while one is on its way
 * are one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { type Observe, reasonOf } from '../observation.ts';

/** What is said on the channel of the triggers. */
export const RING = 'ring';

export interface Bell {
  /** Again and again until it was heard. */
  ring(): void;
  stop(): void;
}

const AGAIN_MS = 200;

/** A NOTIFY that waits for no disk, so that it keeps the lock that all NOTIFYs share for as short as can be. */
const NOTIFY = `begin; set local synchronous_commit = off; notify rowcast, '${RING}'; commit`;

export function createBell({ pool, observe }: { pool: Pick<pg.Pool, 'query'>; observe: Observe }): Bell {
  let wanted = false;
  let ringing = false;
  let stopped = false;

  async function ringOn(): Promise<void> {
    ringing = true;
    while (wanted && !stopped) {
      wanted = false;
      try {
        await pool.query(NOTIFY);
      } catch (error) {
        wanted = true;
        if (stopped) break;
        observe({ type: 'bus.failed', error: reasonOf(error) });
        await delay(AGAIN_MS, undefined, { ref: false });
      }
    }
    ringing = false;
  }

  return {
    ring() {
      wanted = true;
      if (!ringing) void ringOn();
    },
    stop() {
      stopped = true;
    },
  };
}
