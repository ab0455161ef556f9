/** How long to wait before a server is tried again. */

const FLOOR_MS = 100;
const CEILING_MS = 5_000;

/**
 * The pause in milliseconds before an attempt, counted from 1; `random` gives 0 to 1.
 * Full jitter: instances that lost one server do not come back in step.
 */
export function backoff(attempt: number, random: () => number = Math.random): number {
  return random() * Math.min(CEILING_MS, FLOOR_MS * 2 ** (attempt - 1));
}
