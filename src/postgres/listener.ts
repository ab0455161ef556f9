/**
 * The listener: hears every notification of one channel for as long as the
 * instance lives, on one listening session after another.
 *
 * It promises that it never gives up, that it says at once when it is deaf
 * (`onLost`) and when it hears again (`onConnected`, first and again alike), and
 * that no notification is handed on in between. What was notified in between is
 * not its to recover: who needs it reads the log after each `onConnected`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isNativeError } from 'node:util/types';
import pg from 'pg';
import { type Observe, reasonOf } from '../observation.ts';
import { StartError } from '../start-error.ts';
import { backoff } from './backoff.ts';
import { ListeningSession } from './listening-session.ts';

export interface Listener {
  /**
   * Begins connecting; resolves when the first LISTEN has been answered. Retries for ever, but rejects
   * when the first connection fails in a way that no retry heals (credentials, certificate, database,
   * URL), or when the listener is stopped first.
   */
  start(): Promise<void>;
  /** Ends for good, in the middle of a (re)connect too; resolves when no socket and no timer is left. */
  stop(): Promise<void>;
  readonly connected: boolean;
  /** Why it is not connected; null while it is. */
  readonly reason: string | null;
  /** The backend of the session that listens now, or null. */
  readonly backendPid: number | null;
}

export interface ListenerOptions {
  /** A direct connection: LISTEN needs a session, so no transaction pooler. */
  connectionString: string;
  /** At most 63 bytes, as PostgreSQL would cut the rest off. */
  channel: string;
  applicationName: string;
  observe: Observe;
  /** A session listens: the first, or another one after a loss. */
  onConnected(): void;
  /** The session is dead or deaf. Not called by `stop`. */
  onLost(reason: string): void;
  /**
   * Each notification of a session that was told by `onConnected`, in order, with the backend that sent it; no payload
   * is ''. `isAlone`: as is known, nothing came together with it.
   */
  onNotification(payload: string, sender: number, isAlone: boolean): void;
  /** An SQL expression that is evaluated with each check of the session, and who is told its value. */
  watch?: { readonly expression: string; onValue(value: string): void };
  /** Pause between two checks of the session. */
  healthIntervalMs?: number;
  /** Longest wait for any answer of PostgreSQL. */
  deadlineMs?: number;
  /** Pause before an attempt; the first after the loss of a session is attempt 1. */
  backoffMs?: (attempt: number) => number;
  /** What becomes of an error thrown by a handler above: by default it is thrown where nothing catches it. */
  raise?: (error: unknown) => void;
}

const POSTGRES_URL = /^(postgres(ql)?:\/\/|socket:|\/)/;
const CHANNEL_MAX_BYTES = 63;

/** Creates a listener; it connects to nothing before `start`. Throws for a channel name that cannot be listened to. */
export function createListener(options: ListenerOptions): Listener {
  const { connectionString, channel, applicationName, observe } = options;
  const { healthIntervalMs = 3_000, deadlineMs = 4_000, backoffMs = backoff, raise = throwLater } = options;
  const channelBytes = Buffer.byteLength(channel);
  if (channelBytes === 0 || channelBytes > CHANNEL_MAX_BYTES) {
    throw new Error(`a channel's name has 1 to ${CHANNEL_MAX_BYTES} bytes, this one ${channelBytes}`);
  }

  const stopping = new AbortController();
  let session: ListeningSession | null = null;
  let running: Promise<void> | null = null;
  let first = true;
  let connected = false;
  let reason: string | null = 'not started';

  /** A handler's bug must not end the session or keep the next notification from its handler. */
  function call(handler: () => void): void {
    try {
      handler();
    } catch (error) {
      raise(error);
    }
  }

  function lose(why: string): void {
    const wasConnected = connected;
    connected = false;
    reason = why;
    if (!wasConnected || stopping.signal.aborted) return;
    observe({ type: 'listener.lost', reason: why });
    call(() => options.onLost(why));
  }

  function createSession(): ListeningSession {
    return new ListeningSession({
      connectionString,
      channel,
      applicationName,
      healthIntervalMs,
      deadlineMs,
      observe,
      watched: options.watch?.expression ?? 'null',
      onWatched: (value) => call(() => options.watch?.onValue(value ?? '')),
      // Between LISTEN and `onConnected` there is nothing to miss: what is heard then is committed,
      // so whatever is read after `onConnected` holds it.
      onNotification: (payload, sender, isAlone) => {
        if (!connected) return;
        // As by `call`, without a closure for each.
        try {
          options.onNotification(payload, sender, isAlone);
        } catch (error) {
          raise(error);
        }
      },
      onEnd: lose,
    });
  }

  /** One session after another, for ever. Rejects only when no retry would heal the very first. */
  async function run(onFirst: () => void): Promise<void> {
    for (let attempt = 1; !stopping.signal.aborted; attempt++) {
      try {
        const current = createSession();
        session = current;
        await current.open();
        connected = true;
        reason = null;
        observe({ type: 'listener.connected', first, attempts: attempt });
        call(options.onConnected);
        onFirst();
        first = false;
        await current.ended;
        attempt = 0;
      } catch (error) {
        await session?.end(error);
        reason = reasonOf(error);
        if (first && (session === null || isPermanent(error))) {
          throw new StartError(`cannot listen to PostgreSQL: ${reason}`, { cause: error });
        }
      }
      if (stopping.signal.aborted) return;
      observe({ type: 'listener.retry', attempt: attempt + 1, reason: reason ?? 'the session ended' });
      await pause(backoffMs(attempt + 1), stopping.signal);
    }
  }

  return {
    start() {
      if (!POSTGRES_URL.test(connectionString)) {
        return Promise.reject(
          new Error('cannot listen to PostgreSQL: its URL does not begin with postgres://'),
        );
      }
      if (running) return Promise.reject(new Error('a listener starts once'));
      reason = 'connecting';
      return new Promise((resolve, reject) => {
        // Once it has listened, only a bug ends the loop.
        running = run(resolve).catch((error: unknown) => (first ? reject(error) : raise(error)));
        running.then(() => reject(new Error('the listener was stopped before it was connected')));
      });
    },
    async stop() {
      stopping.abort();
      await session?.end(new Error('stopped'));
      await running;
      reason = 'stopped';
    },
    get connected() {
      return connected;
    },
    get reason() {
      return reason;
    },
    get backendPid() {
      return connected && session ? session.backendPid : null;
    },
  };
}

/** Credentials, rights, certificates or a database that are not there: waiting does not bring them. */
function isPermanent(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) {
    return error.code?.startsWith('28') === true || error.code === '3D000' || error.code === '42501';
  }
  if (!isNativeError(error)) return false;
  // What `pg` itself says of a missing password, or of a server without TLS, has no code.
  if (/^SASL:|does not support SSL/.test(error.message)) return true;
  return 'code' in error && /CERT|UNABLE_TO_VERIFY/.test(String(error.code));
}

/** Waits, or returns early when stopped. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
