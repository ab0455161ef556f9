/**
 * One listening session: a pg-listen subscriber that connects once, LISTENs on
 * one channel, is checked for as long as it lives, and ends once.
 *
 * It promises that it is open only when PostgreSQL itself says that the session
 * listens, that an end is noticed within health interval and deadline whatever
 * the network does, that nothing is handed on after the end, and that the end
 * leaves neither socket nor timer. It never reconnects: that is the listener's.
 */
import type { Socket } from 'node:net';
import { isNativeError } from 'node:util/types';
import pg from 'pg';
import pgListen, { type Subscriber } from 'pg-listen';
import { type Observe, reasonOf } from '../observation.ts';
import { createListeningSocket } from './listening-socket.ts';

export interface ListeningSessionOptions {
  connectionString: string;
  channel: string;
  applicationName: string;
  healthIntervalMs: number;
  deadlineMs: number;
  observe: Observe;
  /** An SQL expression that is evaluated with each check. */
  watched: string;
  onWatched(value: string | null): void;
  /** Each notification as its text, in the order of the socket. `isAlone`: as is known, nothing came together with it. */
  onNotification(payload: string, sender: number, isAlone: boolean): void;
  /** Once, as soon as the session is known to be dead or deaf, or was ended. */
  onEnd(reason: string): void;
}

/** A listener is idle by trade: settings that end idle or slow sessions are not meant for it. */
const KEEP_SESSION = `
  SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings
   WHERE name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout',
                  'statement_timeout', 'lock_timeout', 'transaction_timeout')`;

const check = (watched: string) => `
  SELECT pg_backend_pid() AS pid,
         pg_notification_queue_usage() AS usage,
         EXISTS (SELECT FROM pg_listening_channels() AS c WHERE c = $1) AS listening,
         (${watched})::text AS watched`;

interface Checked {
  pid: number;
  usage: number;
  listening: boolean;
  watched: string | null;
}

export class ListeningSession {
  /** Resolves once the session has ended, for whatever reason. */
  readonly ended: Promise<void>;
  readonly #options: ListeningSessionOptions;
  readonly #client: pg.Client;
  readonly #subscriber: Subscriber;
  #backendPid: number | null = null;
  #resolveEnded: () => void = () => undefined;
  #failure: Error | null = null;
  #closed: Promise<void> | null = null;
  #abandon: ((failure: Error) => void) | null = null;
  #nextCheck: NodeJS.Timeout | undefined;

  /** Connects to nothing yet. Throws what is wrong with the connection string. */
  constructor(options: ListeningSessionOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const hear = (payload: string, sender: number, isAlone: boolean): void => {
      if (!this.#failure) options.onNotification(payload, sender, isAlone);
    };
    const socket = () => createListeningSocket({ channel: options.channel, onNotification: hear });
    const { client, subscriber } = subscribe(options, socket);
    this.#client = client;
    this.#subscriber = subscriber;

    // Before pg-listen's own listeners, so that the end comes before its reconnecting.
    client.on('error', (error) => void this.end(error));
    client.on('end', () => void this.end(new Error('the connection was closed')));
    subscriber.events.on('error', (error) => void this.end(error));
    // pg-listen would emit an event named like the channel, and throw on a channel named `error`.
    subscriber.events.removeAllListeners('notification');
    // Where the socket cannot take them, as with TLS.
    subscriber.events.on('notification', ({ channel, payload, processId }) => {
      if (channel === options.channel) hear(typeof payload === 'string' ? payload : '', processId, false);
    });
  }

  get backendPid(): number | null {
    return this.#backendPid;
  }

  /** Connects and LISTENs; resolves when PostgreSQL says that it listens. Rejects, ended, when it cannot. */
  async open(): Promise<void> {
    await this.#within(() => this.#subscriber.connect());
    await this.#within(() => this.#client.query(KEEP_SESSION));
    await this.#within(async () => this.#subscriber.listenTo(this.#options.channel));
    await this.#check();
    // What ended the session may have come in one packet with the answer.
    if (this.#failure) throw this.#failure;
    this.#scheduleCheck();
  }

  /** Ends the session at once, in whatever state it is; resolves when its socket is closed. */
  end(error: unknown): Promise<void> {
    if (this.#closed) return this.#closed;
    this.#failure = asError(error);
    this.#backendPid = null;
    clearTimeout(this.#nextCheck);
    // Closing first makes pg-listen forget its own reconnecting and says goodbye where that is possible;
    // a peer that is silent would be waited for without end, so the socket goes too.
    this.#closed = this.#subscriber.close();
    this.#client.connection.stream.destroy();
    this.#abandon?.(this.#failure);
    this.#resolveEnded();
    this.#options.onEnd(reasonOf(this.#failure));
    return this.#closed;
  }

  #scheduleCheck(): void {
    if (this.#failure) return;
    this.#nextCheck = setTimeout(() => {
      this.#check().then(
        () => this.#scheduleCheck(),
        (error: unknown) => void this.end(error),
      );
    }, this.#options.healthIntervalMs);
  }

  async #check(): Promise<void> {
    const { channel, observe, watched, onWatched } = this.#options;
    const startedMs = performance.now();
    const { rows } = await this.#within(() => this.#client.query<Checked>(check(watched), [channel]));
    const row = rows[0];
    if (!row?.listening) throw this.#fail(new Error(`the session does not listen on ${channel}`));
    this.#backendPid = row.pid;
    observe({ type: 'listener.checked', durationMs: performance.now() - startedMs });
    observe({ type: 'feed.queue_usage', fraction: row.usage });
    onWatched(row.watched);
  }

  /** What `work` gives. When it fails, the session ends, or the deadline passes, the session is over. */
  #within<T>(work: () => Promise<T>): Promise<T> {
    const { deadlineMs } = this.#options;
    return new Promise<T>((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      const deadline = setTimeout(
        () => this.#fail(new Error(`no answer within ${deadlineMs} ms`)),
        deadlineMs,
      );
      const settle = (): void => {
        clearTimeout(deadline);
        this.#abandon = null;
      };
      this.#abandon = (failure) => {
        settle();
        reject(failure);
      };
      work().then(
        (value) => {
          if (this.#failure) return;
          settle();
          resolve(value);
        },
        (error: unknown) => this.#fail(error),
      );
    });
  }

  #fail(error: unknown): Error {
    void this.end(error);
    return this.#failure ?? asError(error);
  }
}

function subscribe(
  options: ListeningSessionOptions,
  stream: () => Socket,
): { client: pg.Client; subscriber: Subscriber } {
  const { connectionString, applicationName, deadlineMs } = options;
  const clients: pg.Client[] = [];
  class SessionClient extends pg.Client {
    constructor(config?: string | pg.ClientConfig) {
      super(config);
      clients.push(this);
    }
  }
  // pg-listen keeps its client to itself, and the check and the hard end need it. It takes the class
  // from `pg` while it is created, in one turn, so nobody else can meet this one there.
  const { Client } = pg;
  Reflect.set(pg, 'Client', SessionClient);
  try {
    const subscriber = pgListen.default(
      {
        connectionString,
        stream,
        application_name: applicationName,
        connectionTimeoutMillis: deadlineMs,
        query_timeout: deadlineMs,
        keepAlive: true,
        keepAliveInitialDelayMillis: 10_000,
      },
      // A limit of one means no attempt; zero would mean no limit.
      { paranoidChecking: false, parse: (payload) => payload, retryLimit: 1 },
    );
    const client = clients[0];
    if (!client) throw new Error('pg-listen and rowcast see two copies of pg: install it once');
    return { client, subscriber };
  } finally {
    Reflect.set(pg, 'Client', Client);
  }
}

function asError(thrown: unknown): Error {
  return isNativeError(thrown) ? thrown : new Error(String(thrown));
}
