/**
 * One connection to a NATS server, subscribed to one subject, that ends once.
 *
 * It promises that it may publish and subscribe there, that what was published after it opened is heard as long as it
 * lasts, that an end is noticed within check interval and deadline whatever the network does, and that no more than a
 * few MiB wait to be sent: what would be more is not sent at all. It never reconnects.
 */
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { NatsConnection } from '@nats-io/transport-node';
import { reasonOf } from '../observation.ts';

export interface NatsSession {
  /** Resolves with why it ended. */
  readonly ended: Promise<string>;
  /** Sends it; false where it cannot now, or is too long. */
  publish(text: string): boolean;
  /** Whether the server takes a message of so many bytes. */
  takes(bytes: number): boolean;
  /** Looks whether the server answers; called again and again. */
  check(): void;
  /** Ends it at once, whatever state it is in. */
  end(reason: string): void;
}

export interface NatsSessionOptions {
  url: string;
  subject: string;
  onText(text: string): void;
  signal: AbortSignal;
  /** Longest wait for any answer. */
  deadlineMs?: number;
}

/** Says nothing, and shows whether it may be said. */
const PROBE = '';
const MAX_UNANSWERED_BYTES = 4 * 1024 * 1024;
const PORT = 4222;
/** Ours notices sooner: theirs waits for what it has still to send, which may be for ever. */
const ITS_PING_MS = 60_000;

/** Connects and subscribes. Rejects where that fails. */
export async function openNatsSession(options: NatsSessionOptions): Promise<NatsSession> {
  const { deadlineMs = 4_000, subject, onText, signal } = options;
  const url = new URL(options.url);
  const secure = url.protocol === 'tls:';
  const port = url.port === '' ? PORT : Number(url.port);
  const host = url.hostname;
  await answers(host.replace(/^\[|\]$/g, ''), port, deadlineMs, signal);
  // Most instances use none, and start sooner without it.
  const { connect, AuthorizationError } = await import('@nats-io/transport-node');
  const connection = await connect({
    servers: `${host}:${port}`,
    ...credentialsOf(url),
    ...(secure ? { tls: {} } : {}),
    name: 'rowcast',
    noEcho: true,
    reconnect: false,
    timeout: deadlineMs,
    pingInterval: ITS_PING_MS,
  }).catch((error: unknown) => {
    if (!(error instanceof AuthorizationError)) throw error;
    throw new Error(`${error.message}: the server refuses the user, password or token`, { cause: error });
  });
  return sessionOf(connection, { subject, onText, deadlineMs });
}

function credentialsOf({ username, password }: URL) {
  if (username === '') return {};
  const [user, pass] = [decodeURIComponent(username), decodeURIComponent(password)];
  return pass === '' ? { token: user } : { user, pass };
}

/** The client keeps the socket of an attempt that runs into its deadline: so it attempts only what is answered. */
async function answers(host: string, port: number, deadlineMs: number, signal: AbortSignal): Promise<void> {
  const socket = connectSocket({ host, port });
  const deadline = AbortSignal.timeout(deadlineMs);
  try {
    await once(socket, 'data', { signal: AbortSignal.any([signal, deadline]) });
  } catch (error) {
    if (deadline.aborted) throw new Error(`no answer within ${deadlineMs} ms`);
    throw error;
  } finally {
    socket.on('error', () => undefined);
    socket.destroy();
  }
}

async function sessionOf(
  connection: NatsConnection,
  { subject, onText, deadlineMs }: Pick<NatsSessionOptions, 'subject' | 'onText'> & { deadlineMs: number },
): Promise<NatsSession> {
  let over = false;
  let sent = 0;
  let answered = 0;
  let asking = false;
  let finish: (reason: string) => void = () => undefined;
  const ended = new Promise<string>((resolve) => {
    finish = resolve;
  });

  function end(reason: string): void {
    if (over) return;
    over = true;
    // Closes the socket in this turn.
    connection.close().catch(reasonOf);
    finish(reason);
  }

  /** Asks whether it is there: by its answer it has taken all that was sent before. */
  async function ask(): Promise<void> {
    if (asking || over) return;
    asking = true;
    const upTo = sent;
    const deadline = setTimeout(() => end(`no answer within ${deadlineMs} ms`), deadlineMs);
    try {
      await connection.flush();
      answered = upTo;
    } catch (error) {
      end(reasonOf(error));
    } finally {
      clearTimeout(deadline);
      asking = false;
    }
  }

  /** What concerns the connection as a whole. */
  async function watch(): Promise<void> {
    for await (const status of connection.status()) {
      // What is denied does not end it: it would speak, and nobody hear.
      if (status.type === 'error') end(reasonOf(status.error));
      // Others leave in this moment too, and so turn to PostgreSQL at once, not when they miss the leader.
      else if (status.type === 'ldm') end('the server is shutting down');
    }
  }

  void watch();
  connection.closed().then((error) => end(error ? reasonOf(error) : 'the connection was closed'));
  connection.subscribe(subject, {
    callback(error, message) {
      if (over) return;
      if (error) end(reasonOf(error));
      else if (message.data.length > 0) onText(message.string());
    },
  });
  connection.publish(subject, PROBE);
  await Promise.race([ask(), ended]);
  // What it is told of comes by a longer way than the answer.
  await turn();
  if (over) throw new Error(await ended);

  return {
    ended,
    publish(text) {
      const data = Buffer.from(text);
      if (over || sent - answered > MAX_UNANSWERED_BYTES || !takes(data.length)) return false;
      connection.publish(subject, data);
      sent += data.length;
      if (sent - answered > MAX_UNANSWERED_BYTES / 4) void ask();
      return true;
    },
    takes,
    check: () => void ask(),
    end,
  };

  function takes(bytes: number): boolean {
    return bytes <= (connection.info?.max_payload ?? 0);
  }
}
