/** The fleet: how an instance hears of commits, and its part among the others: who leads, and by which bus they hear. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { type Choice, createChoice } from '../bus/choice.ts';
import { createNatsBus } from '../bus/nats.ts';
import { createPostgresBus } from '../bus/postgres.ts';
import type { Hearer } from '../bus.ts';
import type { Config } from '../config.ts';
import type { Feed } from '../feed.ts';
import { createLeader, type Pace } from '../leader.ts';
import type { Observe } from '../observation.ts';
import { createBell } from '../postgres/bell.ts';
import { createLeadership } from '../postgres/leadership.ts';
import { createListener } from '../postgres/listener.ts';
import { createOutlook, OUTLOOK } from '../postgres/outlook.ts';
import type { Readiness } from '../transports/http.ts';

export interface Fleet {
  /** Resolves when the feed is live. */
  start(): Promise<void>;
  /** Stands for the lead, from now on. */
  stand(): void;
  stop(): Promise<void>;
  readonly say: Choice['say'];
  readonly toldSnapshots: boolean;
  readonly byNats: boolean;
  readonly listens: boolean;
  readonly leading: boolean;
  /** Whether commits are heard of, and how. */
  ready(): Readiness;
}

export interface FleetOptions {
  config: Pick<Config, 'listenUrl' | 'bus'>;
  pool: pg.Pool;
  feed: Feed;
  onTablesChanged(): void;
  observe: Observe;
  /** Does what the commits need not wait for. */
  afterwards(work: () => void): void;
  pace?: Pace | undefined;
}

/** The channel that the database's triggers NOTIFY. */
const CHANNEL = 'rowcast';

export function createFleet(options: FleetOptions): Fleet {
  const { config, pool, feed, onTablesChanged, observe, afterwards, pace } = options;
  const { bus } = config;
  const outlook = createOutlook({
    onTablesChanged() {
      onTablesChanged();
      void choice.say({ kind: 'tables' });
    },
    onFrozenLeader: (pid) => leadership.unseat(pid),
  });
  const bell = createBell({ pool, observe });
  const byNats = (url: string) => (hearer: Hearer) =>
    createNatsBus({
      url,
      stream: () => feed.stream,
      isLive: () => feed.state === 'live',
      hearer,
      observe,
      newEpoch: () => randomBytes(9).toString('base64url'),
    });
  const choice = createChoice({
    feed,
    postgres: (hearer) =>
      createPostgresBus({
        hearer,
        listener(handlers) {
          // It was deaf: that it heard no leader says nothing yet.
          outlook.onRing();
          return createListener({
            connectionString: config.listenUrl,
            channel: CHANNEL,
            applicationName: 'rowcast listener',
            observe,
            ...handlers,
            watch: { expression: OUTLOOK, onValue: outlook.see },
          });
        },
        bell,
        onRing: outlook.onRing,
        onNotified: (backend) => afterwards(() => leader.onNotified(backend)),
      }),
    nats: bus === 'postgres' ? undefined : byNats(bus),
    onTables: onTablesChanged,
    observe,
  });
  const leader = createLeader({
    feed,
    onRead: () => choice.say({ kind: 'read' }),
    observe,
    ...(pace ? { pace } : {}),
  });
  const leadership = createLeadership({
    connectionString: config.listenUrl,
    applicationName: 'rowcast leader',
    pool,
    observe,
    onElected(locks) {
      choice.onElected();
      leader.onElected(locks);
    },
    onDeposed() {
      leader.onDeposed();
      choice.onDeposed();
    },
  });

  function ready(): Readiness {
    if (choice.deaf !== null)
      return { ready: false, reason: `the listener is not connected: ${choice.deaf}` };
    if (choice.listens && outlook.stream !== feed.stream)
      return { ready: false, reason: 'ROWCAST_LISTEN_URL leads to another database than DATABASE_URL' };
    if (feed.state !== 'live') return { ready: false, reason: feed.reason ?? feed.state };
    if (bus === 'postgres') return { ready: true };
    if (choice.byNats) return { ready: true, bus: 'nats' };
    return { ready: true, bus: 'postgres', because: choice.reason ?? 'NATS is not heard yet' };
  }

  return {
    start: choice.start,
    stand: leadership.start,
    async stop() {
      await leadership.stop();
      await choice.stop();
      bell.stop();
    },
    say: choice.say,
    get toldSnapshots() {
      return choice.toldSnapshots;
    },
    get byNats() {
      return choice.byNats;
    },
    get listens() {
      return choice.listens;
    },
    get leading() {
      return leadership.leading;
    },
    ready,
  };
}
