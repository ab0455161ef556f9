/** The token, and when another is needed. */

/**
 * A JSON Web Token, or what gives one: called for each connection, and again before the one that it gave runs out.
 * Nothing (undefined, null or '') stands for a client without a token.
 */
export type Token = string | (() => string | null | undefined | Promise<string | null | undefined>);

const EARLY_MS = 60_000;
const LEAST_MS = 1_000;
/** The longest that a timer can wait. */
const MOST_MS = 2 ** 31 - 1;

/**
 * In how many milliseconds a token is to be renewed: a minute before it runs out, or after four fifths of what is left
 * of a short one. Undefined where it tells no time, or one that is over by this clock, which may be wrong.
 */
export function renewalMs(token: string, nowMs: number): number | undefined {
  try {
    const payload = token.split('.')[1] ?? '';
    const { exp } = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')));
    const leftMs = exp * 1_000 - nowMs;
    return leftMs > 0 ? Math.min(MOST_MS, Math.max(LEAST_MS, leftMs * 0.8, leftMs - EARLY_MS)) : undefined;
  } catch {
    return undefined;
  }
}
