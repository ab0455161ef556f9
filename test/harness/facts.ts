/** Waiting for facts in place of sleeping: until something is so, or until something was observed. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Observation, ObservationOf, Observe } from '../../src/observation.ts';

const RECHECK_MS = 10;
const TIMEOUT_MS = 10_000;

/**
 * Asks again and again until the answer is neither undefined nor false, and gives
 * it. A probe that throws counts as no answer yet; the last error becomes the
 * cause of the rejection, whose message says `what` was waited for.
 */
export async function until<T>(
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = TIMEOUT_MS, what }: { timeoutMs?: number; what: string },
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let cause: unknown;
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline) throw new Error(`after ${timeoutMs} ms still not: ${what}`, { cause });
    await delay(RECHECK_MS);
  }
}

/** Observations, those already made and those to come. */
export interface Observed {
  /** The first one of that type, for which the predicate holds, made already or to come. */
  next<T extends Observation['type']>(
    type: T,
    predicate?: (observation: ObservationOf<T>) => boolean,
    timeoutMs?: number,
  ): Promise<ObservationOf<T>>;
  /** Those made so far. */
  readonly all: readonly Observation[];
}

/** A recorder of observations. */
export interface Observations extends Observed {
  observe: Observe;
  /** A view of only what is observed from now on. Take it before doing what is to be observed. */
  since(): Observed;
}

/** Creates a recorder; hand its `observe` to the part under test. */
export function observations(): Observations {
  const all: Observation[] = [];
  const waiting = new Set<() => void>();

  function from(mark: number): Observed {
    return {
      get all() {
        return all.slice(mark);
      },
      next(type, predicate = () => true, timeoutMs = TIMEOUT_MS) {
        return new Promise((resolve, reject) => {
          let at = mark;
          const timer = setTimeout(() => {
            waiting.delete(look);
            const seen = [...new Set(all.slice(mark).map((one) => one.type))].join(', ');
            reject(new Error(`after ${timeoutMs} ms not observed: ${type}; observed: ${seen || 'nothing'}`));
          }, timeoutMs);
          function look(): void {
            for (; at < all.length; at++) {
              const one = all[at];
              if (one === undefined || !isOf(one, type) || !predicate(one)) continue;
              clearTimeout(timer);
              waiting.delete(look);
              resolve(one);
              return;
            }
          }
          waiting.add(look);
          look();
        });
      },
    };
  }

  return {
    ...from(0),
    all,
    observe(observation) {
      all.push(observation);
      for (const look of [...waiting]) look();
    },
    since: () => from(all.length),
  };
}

function isOf<T extends Observation['type']>(one: Observation, type: T): one is ObservationOf<T> {
  return one.type === type;
}
