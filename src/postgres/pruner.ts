/**
 * The pruner: keeps the log within its age and size, by calling `rowcast.prune` now and then.
 *
 * Every instance has one, and that of the leading instance calls. It begins with the first commit: a database without
 * commits is asked nothing.
 */
import type pg from 'pg';
import type { Config } from '../config.ts';
import { type Observe, reasonOf } from '../observation.ts';

export interface Pruner {
  /** There was a commit. */
  touch(): void;
  stop(): void;
}

export interface PrunerOptions {
  pool: pg.Pool;
  config: Pick<Config, 'retentionMs' | 'retentionBytes'>;
  isLeading(): boolean;
  observe: Observe;
  /** How long after a commit it looks. */
  busyMs?: number;
}

const PRUNE = `select emptied, freed_bytes::float8, log_bytes::float8 from rowcast.prune(make_interval(secs => $1), $2)`;

export function createPruner(options: PrunerOptions): Pruner {
  const { pool, isLeading, observe, busyMs = 60_000 } = options;
  const { retentionMs, retentionBytes } = options.config;
  /** The log is emptied a sixth at a time. */
  const idleMs = Math.min(Math.max(retentionMs / 6, busyMs), 2 ** 31 - 1);
  let timer: NodeJS.Timeout | null = null;
  let touched = false;
  let stopped = false;

  function arm(ms: number): void {
    if (stopped) return;
    timer = setTimeout(() => void prune(), ms);
    timer.unref();
  }

  async function prune(): Promise<void> {
    touched = false;
    if (isLeading()) await call();
    // The size is not known here any more, if it was.
    else observe({ type: 'feed.log_size', bytes: 0 });
    arm(touched ? busyMs : idleMs);
  }

  async function call(): Promise<void> {
    try {
      const { rows } = await pool.query<{ emptied: number; freed_bytes: number; log_bytes: number }>(PRUNE, [
        retentionMs / 1000,
        retentionBytes,
      ]);
      for (const { emptied, freed_bytes, log_bytes } of rows) {
        if (emptied > 0) observe({ type: 'log.pruned', slots: emptied, bytes: freed_bytes });
        observe({ type: 'feed.log_size', bytes: log_bytes });
      }
    } catch (error) {
      observe({ type: 'log.prune_failed', error: reasonOf(error) });
    }
  }

  return {
    touch() {
      if (touched) return;
      touched = true;
      if (timer !== null) clearTimeout(timer);
      arm(busyMs);
    },
    stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
    },
  };
}
