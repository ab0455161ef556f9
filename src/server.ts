/**
 * The server: puts the parts of an instance together, starts them, and stops them in reverse.
 *
 * Whoever takes a resource registers its release here; a start that fails releases what it took.
 */

import uWS from 'uWebSockets.js';
import { randomBytes } from 'node:crypto';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { createAuth } from './auth.ts';
import { createReplay } from './catch-up/replay.ts';
import { createCatchUp } from './catch-up.ts';
import { createChannels } from './channels.ts';
import type { Config } from './config.ts';
import { createFeed } from './feed.ts';
import { createRelay } from './hub/relay.ts';
import { createRollCall } from './hub/roll-call.ts';
import { createHub } from './hub.ts';
import type { Pace } from './leader.ts';
import { createFilters } from './matching.ts';
import { createMetrics } from './metrics.ts';
import { type Observe, reasonOf } from './observation.ts';
import { createCatalog } from './postgres/catalog.ts';
import { checkDatabase } from './postgres/check.ts';
import { createLiterals } from './postgres/literals.ts';
import { createLogReader } from './postgres/log.ts';
import { createMessages } from './postgres/messages.ts';
import { createPool } from './postgres/pool.ts';
import { createPruner } from './postgres/pruner.ts';
import { createRowReader } from './postgres/rows.ts';
import { createRing } from './ring.ts';
import { createRouter } from './router.ts';
import { createAfterwards } from './server/afterwards.ts';
import { createAttendance } from './server/attendance.ts';
import { createFleet } from './server/fleet.ts';
import { createLateRing } from './server/late-ring.ts';
import { mountHttp, type Page, type Readiness } from './transports/http.ts';
import { claimPort, listen } from './transports/port.ts';
import { mountServices } from './transports/services.ts';
import { createFanOut, mountSse } from './transports/sse.ts';
import { createPublisher, mountWebSocket } from './transports/websocket.ts';

export interface Server {
  /** Where it answers. */
  readonly url: string;
  readonly port: number;
  /** Not ready; clients sent away over the drain time; then stopped. Again: the same stop. */
  stop(): Promise<void>;
}

export interface ServerOptions {
  observe: Observe;
  /** Pages served besides, by path. */
  pages?: Readonly<Record<string, Page>>;
  /** Mounts further routes. */
  mount?: (app: uWS.TemplatedApp) => void;
  /** When it mutes the writers' NOTIFYs, as leader. */
  pace?: Pace;
}

const POOL_SIZE = 4;
const CATCH_UP_POOL_SIZE = 4;
const MAX_SNAPSHOT_ROWS = 1_000_000;
const STATEMENT_TIMEOUT_MS = 30_000;
const LOOK_AGAIN_MS = 500;

const newId = () => randomBytes(12).toString('base64url');

/** Starts an instance; resolves when it answers and is caught up. Rejects with `StartError` where it cannot. */
export async function startServer(config: Config, options: ServerOptions): Promise<Server> {
  const releases: (() => void | Promise<void>)[] = [];
  const release = async () => {
    for (const undo of releases.splice(0).reverse()) await undo();
  };
  try {
    const { port, drain } = await start(config, options, (undo) => releases.push(undo));
    let stopping: Promise<void> | null = null;
    return {
      port,
      url: `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`,
      stop() {
        stopping ??= drain()
          .then(release)
          .then(() => options.observe({ type: 'server.stopped' }));
        return stopping;
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}

async function start(
  config: Config,
  options: ServerOptions,
  onStop: (undo: () => void | Promise<void>) => void,
) {
  await claimPort(config);
  await checkDatabase(config);
  let touch = () => {};
  const metrics = createMetrics({
    sessions: () => hub.sessions,
    sessionsBy: (transport) => hub.register.by(transport),
    subscriptions: () => hub.subscriptions,
    topics: () => hub.topics,
    listenerConnected: () => fleet.listens,
    byNats: () => fleet.byNats,
    leading: () => fleet.leading,
    ringBytes: () => ring.bytes,
    present: () => presence?.size ?? 0,
  });
  const books = createAfterwards();
  const afterwards = books.add;
  const observe: Observe = (observation) => {
    books.settle();
    metrics.observe(observation);
    options.observe(observation);
    if (observation.type === 'feed.commit') touch();
  };
  const poolOf = (applicationName: string, max: number) =>
    createPool({ connectionString: config.databaseUrl, applicationName, max, observe });

  const pool = poolOf('rowcast', POOL_SIZE);
  onStop(() => pool.end());

  // Snapshots and replays take long: they must not keep the feed from a connection.
  const catchUpPool = poolOf('rowcast catch-up', CATCH_UP_POOL_SIZE);
  onStop(() => catchUpPool.end());

  const app = uWS.App();
  const toSockets = createPublisher(app, config);
  const fanOut = createFanOut();
  const publish = (topic: string, frame: string) => {
    toSockets(topic, frame);
    fanOut.publish(topic, frame);
  };
  const catalog = createCatalog({ pool, observe });
  const messages = createMessages(pool);
  const relay = createRelay({ write: messages.write, observe });
  const channels = createChannels(config.channels ?? []);
  const presence = createAttendance({ config, isPresent: channels.isPresent, observe });
  const ring = createLateRing(createRing(config.ringBytes), books);
  const cursor = () => feed.cursor();
  const router = createRouter({ publish, cursor, onStale: lookAgain, observe, afterwards });
  const hub = createHub({
    router,
    catalog,
    feed: { cursor },
    limits: config,
    publish,
    observe,
    verify: createAuth({ config, observe }).verify,
    newId,
    messages: { ...channels, ...relay },
    presence,
    catchUp: (...request) => catchUp(...request),
    filters: createFilters({ ...createLiterals({ pool }), isStale: router.isStale, onStale: lookAgain }),
  });
  const rollCall = createRollCall({ local: hub.register, ...messages, newId, observe });
  const feed = createFeed({
    log: createLogReader(pool),
    observe,
    onBegin: ring.restart,
    onRecalled: ring.add,
    onRespelled: ring.mark,
    onPage(page) {
      hub.route(page);
      ring.add(page);
      if (page.last) fanOut.settle(page.cursor);
      // A large commit lets the sockets have their turn between its pages.
      return page.last ? undefined : turn();
    },
    onGap: hub.onGap,
    afterwards,
    onWatchingChanged: settle,
    onAnnounced: (text) => rollCall.onAnnounced(text),
    say: (word) => void fleet.say(word),
    isToldSnapshots: () => fleet.toldSnapshots,
  });
  const catchUp = createCatchUp({
    feed,
    ring,
    router,
    replay: createReplay(createLogReader(catchUpPool)),
    rows: createRowReader(catchUpPool, STATEMENT_TIMEOUT_MS),
    tables: catalog,
    onStale: lookAgain,
    observe,
    limits: { maxRows: MAX_SNAPSHOT_ROWS },
  });
  const { pace } = options;
  const fleet = createFleet({ config, pool, feed, onTablesChanged: lookAgain, observe, afterwards, pace });
  const { serviceToken, maxFrameBytes } = config;
  const pruner = createPruner({ pool, config, isLeading: () => fleet.leading, observe });
  touch = pruner.touch;
  onStop(() => pruner.stop());

  const stop = new AbortController();
  const stopping = stop.signal;
  onStop(() => feed.stop());
  onStop(() => stop.abort());
  onStop(() => fleet.stop());
  await fleet.start();
  fleet.stand();

  hub.start();
  onStop(() => hub.stop());
  if (presence !== undefined) {
    onStop(() => presence.stop());
    await presence.start();
  }
  mountWebSocket(app, { hub, config });
  onStop(mountSse(app, { hub, fanOut, config }));
  mountServices(app, { serviceToken, maxBodyBytes: maxFrameBytes, send: relay.send, rollCall });
  options.mount?.(app);
  mountHttp(app, { ready, metrics, ...(options.pages ? { pages: options.pages } : {}) });
  onStop(() => {
    app.close();
  });
  const port = await listen(app, config);
  observe({ type: 'server.listening', url: `http://${config.host}:${port}` });

  /** The watched tables are not what they were. */
  function lookAgain(): void {
    catalog.invalidate();
    void hub.onCatalogChanged();
  }

  /** The same; resolves when what they forbid has ended, however long that takes. */
  async function settle(): Promise<void> {
    catalog.invalidate();
    while (!stopping.aborted && !(await hub.onCatalogChanged()))
      await delay(LOOK_AGAIN_MS, undefined, { signal: stopping }).catch(reasonOf);
  }

  function ready(): Readiness {
    if (hub.draining) return { ready: false, reason: 'draining' };
    return fleet.ready();
  }

  async function drain(): Promise<void> {
    observe({ type: 'server.draining', sessions: hub.sessions });
    await hub.drain(config.drainMs);
    // What was handed to the sockets last leaves with the next turns.
    await delay(50);
  }

  return { port, drain };
}
