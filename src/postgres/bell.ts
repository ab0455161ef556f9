/**
 * The bell: by it the leader tells the others that the log has something that no NOTIFY will tell of.
 *
 * It promises that what was in the log before `ring` is read by whoever hears; rings that come while one is on its way
 * are one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { type Observe, reasonOf } from '../observation.ts';

const RING = 'ring';

export interface Bell {
  /** What a ring says on the channel of the triggers. */
  readonly payload: string;
  /** Again and again until it was heard; resolves then, or when it was stopped. */
  ring(): Promise<void>;
  stop(): void;
}

const AGAIN_MS = 200;

/** A NOTIFY that waits for no disk, so that it keeps the lock that all NOTIFYs share for as short as can be. */
const NOTIFY = `begin; set local synchronous_commit = off; notify rowcast, '${RING}'; commit`;

export function createBell({ pool, observe }: { pool: Pick<pg.Pool, 'query'>; observe: Observe }): Bell {
  /** The ring under way, and the one that is to follow it. */
  let ringing: Promise<void> | null = null;
  let next: Promise<void> | null = null;
  let stopped = false;

  async function ringOnce(): Promise<void> {
    while (!stopped) {
      try {
        await pool.query(NOTIFY);
        return;
      } catch (error) {
        if (stopped) return;
        observe({ type: 'bus.failed', error: reasonOf(error) });
        await delay(AGAIN_MS, undefined, { ref: false });
      }
    }
  }

  function begin(): Promise<void> {
    next = null;
    const begun = ringOnce().finally(() => {
      if (ringing === begun) ringing = null;
    });
    ringing = begun;
    return begun;
  }

  return {
    payload: RING,
    ring() {
      if (ringing === null) return begin();
      // One that is on its way may have been heard already.
      next ??= ringing.then(begin);
      return next;
    },
    stop() {
      stopped = true;
    },
  };
}
