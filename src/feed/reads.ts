/**
 * When the log is read: one read at a time, again when it failed, and once more when it was wanted meanwhile.
 *
 * It promises that whoever wants a read gets one that is begun after that.
 */
import { type Observe, type ReadReason, reasonOf } from '../observation.ts';

export interface Reads {
  /** Wants a read. */
  want(why: ReadReason): void;
  /** The same; resolves when it has succeeded. */
  whenDone(why: ReadReason): Promise<void>;
  /** A read is under way or wanted: what comes meanwhile must wait. */
  readonly busy: boolean;
  /** Does not wait any longer before it tries again. */
  hurry(): void;
  /** Reads no more; resolves when the one under way has ended. */
  stop(): Promise<void>;
}

export interface ReadsOptions {
  /** Reads once. Rejects where that failed. */
  read(why: ReadReason): Promise<void>;
  /** A read failed; there will be another. */
  onFailed(error: string): void;
  /** The last read that was wanted has succeeded. */
  onIdle(): void;
  observe: Observe;
  later: (ms: number, call: () => void) => () => void;
}

const RETRY_MS = { first: 100, most: 5000 };

export function createReads({ read, onFailed, onIdle, observe, later }: ReadsOptions): Reads {
  let wanted: ReadReason | null = null;
  let reading: Promise<void> | null = null;
  let cancelRetry: (() => void) | null = null;
  let failures = 0;
  let stopped = false;
  const waiting: (() => void)[] = [];

  function want(why: ReadReason): void {
    wanted ??= why;
    if (reading !== null || cancelRetry !== null || stopped) return;
    reading = readAll().finally(() => {
      reading = null;
      if (wanted !== null) want(wanted);
      else if (!stopped) onIdle();
    });
  }

  async function readAll(): Promise<void> {
    while (wanted !== null && !stopped) {
      const why = wanted;
      const served = waiting.length;
      wanted = null;
      try {
        await read(why);
        failures = 0;
        for (const resolve of waiting.splice(0, served)) resolve();
      } catch (thrown) {
        retry(why, reasonOf(thrown));
        return;
      }
    }
  }

  function retry(why: ReadReason, error: string): void {
    if (stopped) return;
    const retryInMs = Math.min(RETRY_MS.first * 2 ** failures++, RETRY_MS.most);
    observe({ type: 'feed.read_failed', reason: why, error, retryInMs });
    wanted = why;
    cancelRetry = later(retryInMs, tryAgain);
    onFailed(error);
  }

  function tryAgain(): void {
    cancelRetry = null;
    if (wanted !== null) want(wanted);
  }

  return {
    get busy() {
      return reading !== null || wanted !== null;
    },
    want,
    whenDone(why) {
      const done = new Promise<void>((resolve) => waiting.push(resolve));
      want(why);
      return done;
    },
    hurry() {
      failures = 0;
      cancelRetry?.();
      if (cancelRetry !== null) tryAgain();
    },
    async stop() {
      stopped = true;
      cancelRetry?.();
      await reading;
    },
  };
}

/** Calls back later, unless the process ends before; gives what cancels it. */
export function laterUnref(ms: number, call: () => void): () => void {
  const timer = setTimeout(call, ms);
  timer.unref();
  return () => clearTimeout(timer);
}
