/** Draining: sends clients to other instances at a pace, so that those are not stormed. */
import { CLOSE_CODES, encode } from '../protocol.ts';
import type { Session } from '../session.ts';

/** How often it looks whether anybody is left. */
const LOOK_MS = 50;
/** The part of the time in which load balancers may see that the instance is not ready, before anybody goes. */
const NOTICE_SHARE = 0.1;

export interface DrainOptions {
  /** Those that are here; whoever has ended is no longer among them. */
  sessions: ReadonlyMap<string, Session>;
  drainMs: number;
  /** What everything that was published leads to; null within a commit. */
  cursor(): string | null;
  now(): number;
  delay(ms: number): Promise<unknown>;
}

/**
 * Tells every session where it is and ends it with 1001, evenly over `drainMs`, of which the first part goes by in any case. Resolves when
 * nobody is left.
 */
export async function drainSessions({ sessions, drainMs, cursor, now, delay }: DrainOptions): Promise<void> {
  const begunMs = now();
  const all = [...sessions.values()];
  const noticeMs = drainMs * NOTICE_SHARE;
  const paceMs = (drainMs - noticeMs) / all.length;

  async function pass(untilMs: number, isNeeded: () => boolean): Promise<void> {
    const leftMs = () => begunMs + untilMs - now();
    while (leftMs() >= 1 && isNeeded()) await delay(Math.min(LOOK_MS, leftMs()));
  }

  await pass(noticeMs, () => true);
  for (const [n, session] of all.entries()) {
    await pass(noticeMs + (n + 1) * paceMs, () => sessions.size > 0);
    // The last change of a quiet topic may be long ago, and all since would have to be looked through for it.
    const latest = session.phase === 'live' ? cursor() : null;
    if (latest !== null) session.send(encode({ type: 'cursor', cursor: latest }));
    session.end(CLOSE_CODES.draining, 'the instance is going away: connect again and resume');
  }
}
