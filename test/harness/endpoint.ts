/** A hub behind a real WebSocket endpoint, with a feed and a catalog that a test moves by hand. */
import uWS from 'uWebSockets.js';
import type { Page, TableChange } from '../../src/commit.ts';
import type { ReadableTable } from '../../src/hub/topics.ts';
import { createHub, type Hub, type HubOptions } from '../../src/hub.ts';
import { ProtocolError } from '../../src/protocol.ts';
import { createRouter } from '../../src/router.ts';
import { createPublisher, mountWebSocket } from '../../src/transports/websocket.ts';
import { type Observations, observations } from './facts.ts';
import { relationOf } from './relation.ts';
import { connect, type Socket } from './socket.ts';

export interface Endpoint {
  readonly url: string;
  readonly hub: Hub;
  readonly seen: Observations;
  /** The watched tables by their key; a test may change them. */
  readonly tables: Map<string, ReadableTable>;
  /** Awaited by every look at the catalog. */
  look: () => Promise<void>;
  /** The clock of the hub. */
  nowMs: number;
  /** Routes a page, by default a whole commit, and gives its cursor. */
  commit(changes: readonly TableChange[], page?: { first?: boolean; last?: boolean }): string;
  /** Moves the feed without a page. */
  skipTo(cursor: string): void;
  /** A client that has been welcomed. */
  client(options?: Parameters<typeof connect>[1]): Promise<Socket>;
  /** A client whose subscriptions, named by their topics, are live. */
  subscriber(...topics: string[]): Promise<Socket>;
  close(): void;
}

export interface EndpointOptions
  extends Partial<Pick<HubOptions<ReadableTable>, 'catchUp' | 'filters' | 'delay' | 'verify'>> {
  limits?: Partial<HubOptions<ReadableTable>['limits']>;
  origins?: readonly string[];
  maxFrameBytes?: number;
  compression?: boolean;
  trustProxy?: number;
}

export const AT = '2026-01-02T03:04:05.678901Z';

/** An insert of one row, by default into `public.messages`. */
export function inserted(id: number | string, table = 'public.messages'): TableChange {
  const wire = `{"op":"insert","table":"${table}","key":{"id":${id}},"new":{"id":${id}}}`;
  return { relation: relationOf(table), table, op: 'insert', wire };
}

/** Starts one on a free port, with the public tables `messages` and `rooms`. */
export async function startEndpoint(options: EndpointOptions = {}): Promise<Endpoint> {
  const {
    origins = ['self'],
    maxFrameBytes = 2_048,
    compression = false,
    trustProxy = 0,
    limits,
    ...strategies
  } = options;
  const seen = observations();
  const app = uWS.App();
  const publish = createPublisher(app, { compression });
  const tables = new Map<string, ReadableTable>();
  for (const table of ['public.messages', 'public.rooms'])
    tables.set(table, { relation: relationOf(table), table, access: 'public', scope: null });
  let count = 0;
  let cursor = 'c0';
  let ids = 0;
  const feed = { cursor: () => cursor };
  const hub = createHub<ReadableTable>({
    router: createRouter({ publish, observe: seen.observe, ...feed }),
    catalog: {
      async find(schema, name) {
        await endpoint.look();
        return tables.get(`${schema}.${name}`);
      },
    },
    feed,
    limits: {
      maxConnections: 100,
      maxConnectionsPerIp: 0,
      maxSubscriptions: 5,
      maxFramesPerSecond: 100,
      maxBufferedBytes: 1_000_000,
      heartbeatMs: 25_000,
      ...limits,
    },
    publish,
    observe: seen.observe,
    verify: () => Promise.reject(new ProtocolError('unauthorized', 'no tokens here')),
    messages: {
      mayJoin: () => false,
      isPresent: () => false,
      mayPublish: () => false,
      maySend: () => false,
      send: async () => undefined,
    },
    newId: () => `s-${++ids}`,
    now: () => endpoint.nowMs,
    ...strategies,
  });
  mountWebSocket(app, { hub, config: { origins, maxFrameBytes, compression, trustProxy } });
  const port = await new Promise<number>((resolve, reject) => {
    app.listen('127.0.0.1', 0, (socket) => {
      if (socket === false) reject(new Error('no port to listen on'));
      else resolve(uWS.us_socket_local_port(socket));
    });
  });

  const endpoint: Endpoint = {
    url: `ws://127.0.0.1:${port}/ws`,
    hub,
    seen,
    tables,
    look: async () => undefined,
    nowMs: 1_000,
    commit(changes, { first = true, last = true } = {}) {
      cursor = `c${++count}`;
      const page: Page = {
        xid: BigInt(count),
        id: BigInt(count),
        at: AT,
        changes,
        message: null,
        changesFollow: !last,
        parts: 1,
        skipParts: 0,
        first,
        last,
        cursor,
      };
      hub.route(page);
      return cursor;
    },
    skipTo(to) {
      cursor = to;
    },
    async client(how) {
      const socket = await connect(endpoint.url, how);
      await socket.next('welcome');
      return socket;
    },
    async subscriber(...topics) {
      const socket = await endpoint.client();
      for (const topic of topics) {
        socket.send({ type: 'subscribe', id: topic, topic });
        await socket.next('subscribed');
      }
      return socket;
    },
    close() {
      hub.stop();
      app.close();
    },
  };
  return endpoint;
}
