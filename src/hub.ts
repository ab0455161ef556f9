/**
 * The hub: every session of the instance, and what happens to all of them at once.
 *
 * It owns the heartbeat, the watch over slow clients and the draining. It promises that a
 * heartbeat's cursor counts nothing that its receivers have not been sent, and that a client
 * which does not read loses its connection while the others go on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from './commit.ts';
import { drainSessions } from './hub/draining.ts';
import type { Presence } from './hub/presence.ts';
import { createRegister, type Register } from './hub/register.ts';
import type { Local } from './hub/roll-call.ts';
import { createSlowWatch } from './hub/slow-watch.ts';
import {
  createTopics,
  type Doors,
  type ReadableTable,
  type ResolveFilters,
  type Revalidated,
  type Tables,
} from './hub/topics.ts';
import { type Observe, reasonOf } from './observation.ts';
import { encode, type ResetReason } from './protocol.ts';
import type { Router } from './router.ts';
import { type CatchUp, type Host, noCatchUp, type Sending } from './session/host.ts';
import { overConnections, overConnectionsPerIp, type SessionLimits } from './session/limits.ts';
import { HEARTBEAT_TOPIC, type Origin, type Socket } from './session/socket.ts';
import { Session } from './session.ts';

export type HubLimits = SessionLimits & {
  readonly maxConnections: number;
  /** 0: no limit of its own. */
  readonly maxConnectionsPerIp: number;
  readonly maxBufferedBytes: number;
};

export interface Hub {
  /** Begins heartbeats and the watch over slow clients. */
  start(): void;
  /** Ends both. Sessions stay. */
  stop(): void;
  /** A client has connected. Past the limit it is told so and sent away, and the session has ended already. */
  open(socket: Socket, info: Origin & { token?: string | undefined }): Session;
  /** Hands a page of a commit on to all who subscribed to it. */
  route(page: Page): void;
  /** What lies between the feed's last page and its cursor cannot be had: every live subscription gets `reset`. */
  onGap(reason: ResetReason): void;
  /** Ends the subscriptions to what is no longer watched, or not for them. False where it could not look at all; never rejects. */
  onCatalogChanged(): Promise<boolean>;
  /** Takes no new clients, and sends all to other instances, evenly over `drainMs`; resolves when none is left. */
  drain(drainMs: number): Promise<void>;
  /** One heartbeat; within a commit, as soon as that ends. */
  beat(): void;
  /** One look at who is too slow, and whose token has run out. */
  watch(): void;
  readonly draining: boolean;
  /** Who is connected here. */
  readonly register: Pick<Register, keyof Local | 'by'>;
  /** Clients connected, those that are being sent away included. */
  readonly sessions: number;
  readonly subscriptions: number;
  readonly topics: number;
}

export interface HubOptions<T extends ReadableTable> {
  router: Router;
  catalog: Tables<T>;
  feed: { cursor(): string };
  limits: HubLimits;
  /** Publishes to every socket that is subscribed to the topic. */
  publish(topic: string, frame: string): void;
  observe: Observe;
  /** A name for a session that no other has, on no instance. */
  newId(): string;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
  /** Milliseconds since the epoch. */
  wallClock?: () => number;
  delay?: (ms: number) => Promise<unknown>;
  /** What serves `since` and `snapshot`; without it they are `unavailable`. */
  catchUp?: CatchUp;
  /** Whose token it is, as `Host.verify`. */
  verify: Host['verify'];
  /** What clients may send, and which channels are open to them. */
  messages: Sending & Doors;
  /** Where who is in the channels is to be known. */
  presence?: Pick<Presence, 'enter' | 'leave' | 'onIdentity'> | undefined;
  /** What serves filters; without it they are `unavailable`. */
  filters?: ResolveFilters<T>;
}

const WATCH_MS = 250;

/** Creates a hub without sessions. */
export function createHub<T extends ReadableTable>(options: HubOptions<T>): Hub {
  const { router, catalog, feed, limits, publish, observe, newId } = options;
  const {
    now = () => performance.now(),
    wallClock = Date.now,
    delay = sleep,
    catchUp = noCatchUp,
    filters,
    messages,
    presence,
    verify,
  } = options;
  const sessions = new Map<string, Session>();
  const register = createRegister(sessions);
  const topics = createTopics({ router, tables: catalog, filters, doors: messages, presence, observe });
  const slow = createSlowWatch({ maxBufferedBytes: limits.maxBufferedBytes, now, observe });
  const host: Host = {
    topics,
    sending: messages,
    presence,
    verify,
    limits,
    catchUp,
    cursor: feed.cursor,
    now,
    observe,
    left(id) {
      const session = sessions.get(id);
      if (session !== undefined && sessions.delete(id)) register.remove(session);
      slow.forget(id);
    },
  };
  const timers: NodeJS.Timeout[] = [];
  let beatDue = false;
  /** What had been published when it was looked who is slow. */
  let watchedBytes = 0;
  let lookAgain = false;
  let draining = false;

  function beat(): void {
    // Within a commit some of what the feed's cursor counts has not been published.
    beatDue = !router.settled;
    if (!beatDue) publish(HEARTBEAT_TOPIC, encode({ type: 'cursor', cursor: feed.cursor() }));
  }

  function watch(): void {
    watchedBytes = router.bytes;
    slow.look(sessions.values());
    const at = wallClock();
    for (const session of sessions.values()) session.expire(at);
  }

  async function onCatalogChanged(): Promise<boolean> {
    lookAgain = false;
    let isDone = false;
    try {
      const { ended, narrowed, complete } = await topics.revalidate();
      for (const { topic, error } of ended) {
        for (const session of [...sessions.values()]) session.subscriber.endTopic(topic, error);
      }
      isDone = complete && (await recheck(narrowed));
    } catch (error) {
      observe({ type: 'catalog.failed', error: reasonOf(error) });
    }
    lookAgain ||= !isDone;
    return isDone;
  }

  /** Ends what is not for those who hold it any longer. False where some could not be looked at. */
  async function recheck(narrowed: Revalidated['narrowed']): Promise<boolean> {
    if (narrowed.length === 0) return true;
    const of = new Set(narrowed.map(({ topic }) => topic));
    let complete = true;
    for (const session of [...sessions.values()])
      complete = (await session.subscriber.recheck(of)) && complete;
    // Who comes in meanwhile comes under the new rule.
    if (complete) for (const { topic, access } of narrowed) topic.access = access;
    return complete;
  }

  return {
    get draining() {
      return draining;
    },
    get sessions() {
      return sessions.size;
    },
    get subscriptions() {
      return topics.held;
    },
    get topics() {
      return topics.size;
    },
    start() {
      const onBeat = () => {
        beat();
        if (lookAgain) void onCatalogChanged();
      };
      timers.push(setInterval(onBeat, limits.heartbeatMs), setInterval(watch, WATCH_MS));
    },
    stop() {
      for (const timer of timers.splice(0)) clearInterval(timer);
    },
    open(socket, { transport, address, token }) {
      const session = new Session(newId(), { transport, address }, socket, host);
      observe({ type: 'session.opened', session: session.id, transport });
      if (sessions.size >= limits.maxConnections) {
        session.fail(overConnections(limits));
      } else if (limits.maxConnectionsPerIp > 0 && register.from(address) >= limits.maxConnectionsPerIp) {
        session.fail(overConnectionsPerIp(limits));
      } else {
        sessions.set(session.id, session);
        register.add(session);
        if (token === undefined) session.welcome(null);
        else void session.authenticate(token);
      }
      return session;
    },
    route(page) {
      // A burst must not outrun the watch: no client can have got more than all of this.
      if (router.bytes - watchedBytes > limits.maxBufferedBytes / 4) watch();
      router.route(page);
      if (page.last && beatDue) beat();
    },
    onGap(reason) {
      router.abandon();
      for (const session of sessions.values()) session.subscriber.reset(reason);
    },
    onCatalogChanged,
    register,
    async drain(drainMs) {
      draining = true;
      const cursor = () => (router.settled ? feed.cursor() : null);
      await drainSessions({ sessions, drainMs, cursor, now, delay });
    },
    beat,
    watch,
  };
}
