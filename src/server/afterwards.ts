/**
 * Afterwards: what can wait until the frames of a turn have left.
 *
 * uWebSockets.js sends the frames of a turn when it ends, and a client need not wait until books were kept of them. It
 * promises that all is done in order, before the next turn, or as soon as somebody needs it done.
 */
export interface Afterwards {
  add(work: () => void): void;
  /** Does at once what waits. */
  settle(): void;
}

/** A read of the log brings many commits in one turn: what waits must not grow with them. */
const MOST = 64;

export function createAfterwards(): Afterwards {
  let waiting: (() => void)[] = [];

  function settle(): void {
    if (waiting.length === 0) return;
    const all = waiting;
    waiting = [];
    for (const work of all) work();
  }

  return {
    add(work) {
      const count = waiting.push(work);
      if (count === 1) setImmediate(settle);
      else if (count === MOST) settle();
    },
    settle,
  };
}
