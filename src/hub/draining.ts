/** Draining: sends clients to other instances at a pace, so that those are not stormed. */
import { CLOSE_CODES } from '../protocol.ts';
import type { Session } from '../session.ts';

const PACE_MS = 50;

export interface DrainOptions {
  /** Those that are here; whoever has ended is no longer among them. */
  sessions: ReadonlyMap<string, Session>;
  drainMs: number;
  now(): number;
  delay(ms: number): Promise<unknown>;
}

/** Ends every session with 1001, evenly over `drainMs`; resolves when the last has been told. */
export async function drainSessions({ sessions, drainMs, now, delay }: DrainOptions): Promise<void> {
  const endMs = now() + drainMs;
  for (;;) {
    const leftMs = Math.max(0, endMs - now());
    const share = Math.ceil(sessions.size / (1 + Math.floor(leftMs / PACE_MS)));
    for (const session of [...sessions.values()].slice(0, share)) {
      session.end(CLOSE_CODES.draining, 'the instance is going away: connect again and resume');
    }
    if (sessions.size === 0) return;
    await delay(Math.min(PACE_MS, leftMs));
  }
}
