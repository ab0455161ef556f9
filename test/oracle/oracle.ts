/**
 * The oracle: random transactions, clients that come, go and resume on several instances, and whatever can break,
 * broken. At the end every mirror equals the table, and on the way each row's version went up by exactly one.
 */
import { until } from '../harness/facts.ts';
import { startNats } from '../harness/nats-server.ts';
import { startProxy } from '../harness/proxy.ts';
import { startServer } from '../harness/server.ts';
import { ClientFollower } from './client-follower.ts';
import { breakThings, type Fault, tally, type World } from './faults.ts';
import { Follower, type FollowerStats, type Following } from './follower.ts';
import { startNode } from './node.ts';
import { pause } from './pause.ts';
import { createRandom } from './random.ts';
import { HESITATION, type Manner, pulse, SCHEMA, straggle, write } from './writer.ts';

/** What the world is like, and how often in a second what breaks, about. */
export interface Scenario {
  /** The settings of each instance. */
  readonly nodes: readonly Readonly<Record<string, string>>[];
  readonly writers: number;
  /** Of rows of their own, as fast as they can. */
  readonly pulses: number;
  readonly manner: Manner;
  /** Of rows of their own too. Where there are any, writers take their time over the locks that they test. */
  readonly stragglers: number;
  readonly faults: Readonly<Partial<Record<Fault, number>>>;
  /** A transaction that has written, and is open for as long as the database lets it. */
  readonly openThroughout: boolean;
  /** They follow by `rowcast/client`. */
  readonly byClient?: boolean;
  /** The instances hear by NATS, and each of them has a follower of its own. */
  readonly byNats?: boolean;
}

export interface OracleOptions extends Scenario {
  seed: number;
  durationMs: number;
  topics: readonly string[];
}

export interface OracleReport extends FollowerStats {
  commits: number;
  written: number;
  faults: number;
  /** As far as instances lived to tell: times that NOTIFYs were muted; and of NATS, as `NodeMetrics` has them. */
  mutings: number;
  heard: number;
  gaps: number;
  fallbacks: number;
}

const HEARD_AT_THE_END = 20;
/** Instances that start at the same time. */
const AT_ONCE = 4;

/** Runs once. Rejects with what differed, and on what seed. */
export async function runOracle(options: OracleOptions): Promise<OracleReport> {
  const random = createRandom(options.seed);
  const postgres = await startServer({ max_connections: String(100 + 15 * options.nodes.length) });
  const nats = options.byNats ? await natsByProxies() : null;
  const settings = options.nodes.map((env, n) => ({ ...env, ...nats?.bus(n) }));
  const told = { mutings: 0, heard: 0, gaps: 0, fallbacks: 0 };
  const world: World = { postgres, nats, nodes: [], followers: [], settings, told };
  const { nodes } = world;
  try {
    await postgres.query(SCHEMA);
    if (options.stragglers > 0) await postgres.query(HESITATION);
    for (let n = 0; n < settings.length; n += AT_ONCE) {
      const started = settings.slice(n, n + AT_ONCE).map((env) => startNode(postgres.url, env));
      nodes.push(...(await Promise.all(started)));
    }
    const urls = (of = nodes) => of.flatMap((node) => node?.url ?? []);
    const Kind = options.byClient ? ClientFollower : Follower;
    const followers: Following[] = options.topics.flatMap((topic, t) =>
      [0, 1, 2]
        .slice(options.byNats ? 2 : 0)
        .map((n) => new Kind(topic, random.fork(100 + t * 10 + n), urls)),
    );
    for (const n of options.byNats ? nodes.keys() : [])
      followers.push(new Follower('item', random.fork(500 + n), () => urls(nodes.slice(n, n + 1))));
    world.followers.push(...followers);
    const end = performance.now() + options.durationMs;
    const goOn = () => performance.now() < end && followers.every(({ failure }) => failure === null);
    const writers = Array.from({ length: options.writers }, (_, n) =>
      write(postgres.url, random.fork(n), goOn, options.manner),
    );
    const following = followers.map((follower) => follow(follower, goOn));
    const faults = breakThings(random.fork(50), options, world, goOn);
    const open = options.openThroughout ? stayOpen(postgres, goOn) : undefined;

    for (let n = 0; n < options.pulses; n++)
      writers.push(pulse(postgres.url, 10_000 + n, goOn, options.manner));
    for (let n = 0; n < options.stragglers; n++) writers.push(straggle(postgres.url, 20_000 + n, goOn));

    const written = (await Promise.all(writers)).reduce((sum, n) => sum + n, 0);
    const broken = await faults;
    await Promise.all(following);
    if (options.byNats) await hearByNats(postgres, nodes);
    await compare(postgres, followers);
    await open;
    for (const node of nodes) {
      if (node?.died) throw new Error(node.died);
      if (node) await tally(node, world);
    }
    const total = (key: keyof FollowerStats) => followers.reduce((sum, { stats }) => sum + stats[key], 0);
    return {
      written,
      faults: broken,
      ...told,
      commits: total('commits'),
      snapshots: total('snapshots'),
      resumes: total('resumes'),
      resets: total('resets'),
    };
  } catch (error) {
    throw new Error(`the oracle differs; again with ORACLE_SEED=${options.seed}`, { cause: error });
  } finally {
    for (const node of nodes) await node?.end('SIGKILL');
    await nats?.close();
    await postgres.dispose();
  }
}

/** A NATS server, and two proxies through which the instances reach it in turns. */
async function natsByProxies() {
  const server = await startNats();
  const proxies = [await startProxy(server.port), await startProxy(server.port)] as const;
  return {
    server,
    proxies,
    bus: (n: number) => ({ ROWCAST_BUS: `nats://127.0.0.1:${proxies[n % 2 === 0 ? 0 : 1].port}` }),
    async close() {
      for (const proxy of proxies) await proxy.close();
      await server.stop();
    },
  };
}

/** Once nothing breaks any more, all take to NATS again, and hear by it what is written then. */
async function hearByNats(postgres: World['postgres'], nodes: World['nodes']): Promise<void> {
  const living = nodes.filter((node) => node !== null);
  await until(async () => (await Promise.all(living.map((node) => node.byNats()))).every(Boolean), {
    timeoutMs: 30_000,
    what: 'all instances are by NATS',
  });
  const heard = async () => (await Promise.all(living.map((node) => node.metrics()))).map((of) => of.heard);
  const before = await heard();
  for (let n = 0; n < HEARD_AT_THE_END; n++) await postgres.query(`insert into aside default values`);
  // The leader hears by itself.
  await until(
    async () => {
      const more = (await heard()).map((count, n) => count - (before[n] ?? 0));
      return more.filter((count) => count >= HEARD_AT_THE_END).length >= living.length - 1;
    },
    { timeoutMs: 20_000, what: 'all others hear by NATS what is written' },
  );
}

/** Keeps a follower connected. */
async function follow(follower: Following, goOn: () => boolean): Promise<void> {
  while (goOn()) {
    if (!follower.connected) await follower.connect();
    follower.poll();
    const closed = follower.socketClosed;
    if (closed !== null) void closed.then(() => follower.drop());
    await pause(5);
  }
}

/** Keeps a transaction open that no snapshot sees the end of, whatever happens to its connection. */
async function stayOpen({ client: connect }: World['postgres'], goOn: () => boolean): Promise<void> {
  while (goOn()) {
    const client = await connect().catch(() => null);
    if (client === null) {
      await pause(50);
      continue;
    }
    let lost = false;
    client.on('error', () => {
      lost = true;
    });
    await client.query('begin; insert into aside default values').catch(() => {
      lost = true;
    });
    while (goOn() && !lost) await pause(20);
    await client.query('rollback').catch(() => undefined);
    await client.end().catch(() => undefined);
  }
}

async function compare(postgres: World['postgres'], followers: readonly Following[]): Promise<void> {
  const { rows } = await postgres.query<{ id: number; version: number; room: number }>(
    'select id, version, room from item order by id',
  );
  for (const follower of followers) {
    const room = /room=eq\.(\d+)/.exec(follower.topic)?.[1];
    const wanted = JSON.stringify(rows.filter((row) => room === undefined || String(row.room) === room));
    let got = '';
    await until(
      async () => {
        if (follower.failure !== null) return true;
        if (!follower.connected) await follower.connect();
        follower.poll();
        void follower.socketClosed?.then(() => follower.drop());
        const mine = [...follower.rows.values()].map(({ id, version, room: r }) => ({
          id,
          version,
          room: r,
        }));
        got = JSON.stringify(mine.sort((a, b) => Number(a.id) - Number(b.id)));
        return got === wanted && follower.live;
      },
      { timeoutMs: 20_000, what: `${follower.topic} equals the table` },
    ).catch((cause) => {
      throw new Error(`${follower.topic} differs\nwanted ${wanted}\ngot    ${got}`, { cause });
    });
    if (follower.failure !== null) throw follower.failure;
    await follower.settle();
  }
}
