/** How long to wait before the next attempt. Chance spreads out clients that lost their server in one moment. */

const BASE_MS = 500;
const MOST_MS = 30_000;

/** Full jitter: anything from 0 to a bound that doubles with each attempt (from 0), up to 30 seconds. */
export function backoffMs(attempt: number, random = Math.random): number {
  return random() * Math.min(MOST_MS, BASE_MS * 2 ** attempt);
}
