/** Draining: sends clients to other instances at a pace, so that those are not stormed. */
import { CLOSE_CODES } from '../protocol.ts';
import type { Session } from '../session.ts';

/** How often it looks whether anybody is left. */
const LOOK_MS = 50;

export interface DrainOptions {
  /** Those that are here; whoever has ended is no longer among them. */
  sessions: ReadonlyMap<string, Session>;
  drainMs: number;
  now(): number;
  delay(ms: number): Promise<unknown>;
}

/**
 * Ends every session with 1001, evenly over `drainMs`: the first after a while, so that load balancers have seen by
 * then that the instance is not ready. Resolves when nobody is left.
 */
export async function drainSessions({ sessions, drainMs, now, delay }: DrainOptions): Promise<void> {
  const begunMs = now();
  const all = [...sessions.values()];
  const paceMs = drainMs / (all.length + 1);
  for (const [n, session] of all.entries()) {
    const dueMs = begunMs + (n + 1) * paceMs;
    for (let leftMs = dueMs - now(); leftMs >= 1; leftMs = dueMs - now()) {
      if (sessions.size === 0) return;
      await delay(Math.min(LOOK_MS, leftMs));
    }
    session.end(CLOSE_CODES.draining, 'the instance is going away: connect again and resume');
  }
}
