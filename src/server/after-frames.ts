import type { Observation, Observe } from '../observation.ts';

/** What every commit brings. */
const OF_COMMITS: ReadonlySet<Observation['type']> = new Set(['feed.commit', 'frame.published']);

/**
 * Tells what every commit brings a turn later, all else at once, and all of it in order: uWebSockets.js sends the
 * frames of a turn when it ends, and a client need not wait until they were counted.
 */
export function afterFrames(tell: Observe): Observe {
  let waiting: Observation[] = [];

  function tellAll(): void {
    const all = waiting;
    waiting = [];
    for (const observation of all) tell(observation);
  }

  return (observation) => {
    if (OF_COMMITS.has(observation.type)) {
      if (waiting.push(observation) === 1) setImmediate(tellAll);
      return;
    }
    tellAll();
    tell(observation);
  };
}
