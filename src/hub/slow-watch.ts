/**
 * The watch over slow clients.
 *
 * A close frame waits behind everything that its client has yet to read. So whoever is past the
 * limit is sent nothing more, and has a while to read the rest: then it gets 4408. One that does
 * not read in time is cut, and sees the connection broken (1006). Either way the last frame that
 * it got is followed by no hole, and it resumes from there.
 */
import type { Observe } from '../observation.ts';
import { CLOSE_CODES } from '../protocol.ts';
import type { Session } from '../session.ts';

/** How long a client may take to read what it was sent before it was found too slow. */
export const LINGER_MS = 5_000;
const REASON = 'too slow: connect again and resume';

export interface SlowWatch {
  look(sessions: Iterable<Session>): void;
  /** The session of that id has ended. */
  forget(id: string): void;
}

export interface SlowWatchOptions {
  maxBufferedBytes: number;
  now(): number;
  observe: Observe;
}

/** Creates a watch; it looks when it is told to. */
export function createSlowWatch({ maxBufferedBytes, now, observe }: SlowWatchOptions): SlowWatch {
  const closing = new Map<string, { session: Session; deadlineMs: number }>();

  return {
    look(sessions) {
      const nowMs = now();
      for (const { session, deadlineMs } of [...closing.values()]) {
        if (session.bufferedBytes === 0) session.end(CLOSE_CODES.tooSlow, REASON);
        else if (nowMs >= deadlineMs) session.cut(CLOSE_CODES.tooSlow, REASON);
      }
      for (const session of sessions) {
        const { bufferedBytes } = session;
        if (bufferedBytes <= maxBufferedBytes || closing.has(session.id)) continue;
        observe({ type: 'session.slow', session: session.id, bufferedBytes });
        session.shed();
        closing.set(session.id, { session, deadlineMs: nowMs + LINGER_MS });
      }
    },
    forget(id) {
      closing.delete(id);
    },
  };
}
