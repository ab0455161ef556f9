/**
 * The choice: by which bus an instance hears, and what its feed makes of that.
 *
 * The leader LISTENs, always, and so does everybody who does not hear it by NATS. Whoever does LISTENs no longer, once
 * he has read what was committed before. It promises that from the start on, while one of the two hears, nothing is
 * missed: they overlap, and the feed hands on once what it hears twice.
 */
import type { Bus, Hearer, Word } from '../bus.ts';
import { laterUnref } from '../feed/reads.ts';
import type { Feed } from '../feed.ts';
import { type Observe, reasonOf } from '../observation.ts';

export interface Choice {
  /** Resolves when the feed is live, which is by PostgreSQL at first. */
  start(): Promise<void>;
  stop(): Promise<void>;
  onElected(): void;
  onDeposed(): void;
  /** Says it to the others where this instance leads; resolves when those who LISTEN will hear it first. */
  say(word: Word): Promise<void>;
  /** Whether the leader says by snapshots what is confirmed. */
  readonly toldSnapshots: boolean;
  /** Whether it hears, or as leader is heard, by NATS; and whether it LISTENs. */
  readonly byNats: boolean;
  readonly listens: boolean;
  /** Why it hears by neither; null where it does. */
  readonly deaf: string | null;
  /** Why not by NATS; null where it does. */
  readonly reason: string | null;
}

export interface ChoiceOptions {
  feed: Pick<
    Feed,
    'start' | 'onConnected' | 'onLost' | 'onNotification' | 'onSnapshot' | 'onTold' | 'advance' | 'state'
  >;
  postgres(hearer: Hearer): Bus;
  /** Left out: by PostgreSQL alone. */
  nats?: ((hearer: Hearer) => Bus) | undefined;
  /** What is watched may not be what it was. */
  onTables(): void;
  observe: Observe;
  later?: (ms: number, call: () => void) => () => void;
}

/** There is nobody to say it to. */
const SAID = Promise.resolve();
const LISTEN_AGAIN_MS = 1_000;

export function createChoice(options: ChoiceOptions): Choice {
  const { feed, onTables, observe, later = laterUnref } = options;
  let leading = false;
  /** What was committed before NATS was heard has been read. */
  let joined = false;
  let listening = true;
  let stopped = false;
  let speaking = false;
  /** Counts the times that NATS came up or went. */
  let times = 0;

  const heard: Pick<Hearer, 'onCommit' | 'onSnapshot' | 'onTables' | 'onTold'> = {
    onCommit: feed.onNotification,
    onSnapshot: feed.onSnapshot,
    onTables,
    onTold: feed.onTold,
  };
  const postgres = options.postgres({
    ...heard,
    onUp() {
      // Where the other one is heard all along, it only has to read.
      if (joined) feed.onTold();
      else feed.onConnected();
      if (leading && !speaking) speak();
    },
    onDown(reason) {
      if (!joined) feed.onLost(reason);
    },
  });
  const nats = options.nats?.({
    ...heard,
    onUp: () => void join(),
    onDown(reason) {
      times++;
      if (!postgres.up) feed.onLost(reason);
      joined = false;
      settle();
    },
  });

  async function join(): Promise<void> {
    const time = ++times;
    do {
      if (!postgres.up) feed.onConnected();
      await feed.advance('joined');
      if (time !== times || stopped) return;
      // What it listened by may have been lost meanwhile.
    } while (feed.state !== 'live');
    joined = true;
    onTables();
    settle();
  }

  function speak(): void {
    times++;
    joined = false;
    speaking = true;
    nats?.lead();
  }

  function settle(): void {
    const wanted = leading || !joined;
    if (wanted === listening || stopped) return;
    listening = wanted;
    if (wanted) void listen();
    else void postgres.stop();
  }

  async function listen(): Promise<void> {
    try {
      await postgres.start();
    } catch (error) {
      observe({ type: 'bus.failed', error: reasonOf(error) });
      later(LISTEN_AGAIN_MS, () => {
        if (listening && !stopped) void listen();
      });
    }
  }

  return {
    async start() {
      await postgres.start();
      await feed.start();
      await nats?.start();
    },
    async stop() {
      stopped = true;
      await nats?.stop();
      await postgres.stop();
    },
    onElected() {
      leading = true;
      postgres.lead();
      settle();
      // Whoever hears the first word of it may rely on it.
      if (postgres.up) speak();
    },
    onDeposed() {
      leading = false;
      speaking = false;
      postgres.resign();
      nats?.resign();
      settle();
    },
    say(word) {
      if (!leading) return SAID;
      const byNats = nats?.say(word);
      const byPostgres = postgres.say(word);
      return byNats === undefined ? byPostgres : Promise.all([byNats, byPostgres]).then(() => undefined);
    },
    get toldSnapshots() {
      return joined;
    },
    get byNats() {
      return nats !== undefined && (leading ? nats.up : joined);
    },
    get listens() {
      return postgres.up;
    },
    get deaf() {
      return postgres.up || joined ? null : (postgres.reason ?? 'not listening');
    },
    get reason() {
      if (nats === undefined) return 'ROWCAST_BUS is postgres';
      return nats.reason ?? (leading || joined ? null : 'catching up');
    },
  };
}
