/**
 * The oracle: random transactions, clients that come, go and resume on two instances, backends terminated,
 * PostgreSQL restarted at once and fast, instances killed and drained. At the end every mirror equals the table, and
 * on the way each row's version went up by exactly one.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { until } from '../harness/facts.ts';
import { startServer } from '../harness/server.ts';
import { Follower, type FollowerStats } from './follower.ts';
import { type Node, startNode } from './node.ts';
import { createRandom, type Random } from './random.ts';
import { SCHEMA, write } from './writer.ts';

export interface OracleOptions {
  seed: number;
  durationMs: number;
  topics: readonly string[];
  /** What is wrong with the world, and how often in a second, about. */
  faults?: Partial<Record<Fault, number>>;
}

export type Fault = 'listener' | 'backends' | 'restart' | 'crash' | 'drain' | 'kill' | 'leave';

export interface OracleReport extends FollowerStats {
  commits: number;
  written: number;
  faults: number;
}

const FAULTS: Record<Fault, number> = {
  listener: 0.5,
  backends: 0.15,
  restart: 0.04,
  crash: 0.04,
  drain: 0.1,
  kill: 0.1,
  leave: 4,
};
const WRITERS = 4;
/** The second keeps so few commits in memory that its clients are caught up from the log. */
const NODES: readonly Record<string, string>[] = [{}, { ROWCAST_RING_BYTES: '64KiB' }];

/** Runs once. Rejects with what differed, and on what seed. */
export async function runOracle(options: OracleOptions): Promise<OracleReport> {
  const random = createRandom(options.seed);
  const postgres = await startServer({ max_connections: '100' });
  const nodes: (Node | null)[] = [];
  try {
    await postgres.query(SCHEMA);
    for (const env of NODES) nodes.push(await startNode(postgres.url, env));
    const urls = () => nodes.flatMap((node) => node?.url ?? []);
    const followers = options.topics.flatMap((topic, t) =>
      [0, 1, 2].map((n) => new Follower(topic, random.fork(100 + t * 10 + n), urls)),
    );
    const end = performance.now() + options.durationMs;
    const goOn = () => performance.now() < end && followers.every(({ failure }) => failure === null);
    const writers = Array.from({ length: WRITERS }, (_, n) => write(postgres.url, random.fork(n), goOn));
    const following = followers.map((follower) => follow(follower, goOn));
    const faults = breakThings(random.fork(50), options, { postgres, nodes, followers }, goOn);

    const written = (await Promise.all(writers)).reduce((sum, n) => sum + n, 0);
    const broken = await faults;
    await Promise.all(following);
    await compare(postgres, followers);
    for (const node of nodes) if (node?.died) throw new Error(node.died);
    const total = (key: keyof FollowerStats) => followers.reduce((sum, { stats }) => sum + stats[key], 0);
    return {
      written,
      faults: broken,
      commits: total('commits'),
      snapshots: total('snapshots'),
      resumes: total('resumes'),
      resets: total('resets'),
    };
  } catch (error) {
    throw new Error(`the oracle differs; again with ORACLE_SEED=${options.seed}`, { cause: error });
  } finally {
    for (const node of nodes) await node?.end('SIGKILL');
    await postgres.dispose();
  }
}

/** Keeps a follower connected. */
async function follow(follower: Follower, goOn: () => boolean): Promise<void> {
  while (goOn()) {
    if (!follower.connected) await follower.connect();
    follower.poll();
    const closed = follower.socketClosed;
    if (closed !== null) void closed.then(() => follower.drop());
    await pause(5);
  }
}

async function breakThings(
  random: Random,
  { faults, durationMs }: OracleOptions,
  world: {
    postgres: Awaited<ReturnType<typeof startServer>>;
    nodes: (Node | null)[];
    followers: readonly Follower[];
  },
  goOn: () => boolean,
): Promise<number> {
  const { postgres, nodes, followers } = world;
  const rates = { ...FAULTS, ...faults };
  const kinds = Object.entries(rates) as [Fault, number][];
  const sum = kinds.reduce((total, [, rate]) => total + rate, 0);
  // Planned in advance, so that a seed always breaks the same things at the same times.
  const plan: { at: number; fault: Fault }[] = [];
  for (let at = 500; at < durationMs; at += -Math.log(1 - random.next()) * (1000 / sum)) {
    let choice = random.next() * sum;
    const fault = kinds.find(([, rate]) => {
      choice -= rate;
      return choice < 0;
    });
    plan.push({ at, fault: fault?.[0] ?? 'leave' });
  }
  const begun = performance.now();
  const terminate = (where: string) =>
    postgres
      .query(
        `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and ${where}`,
      )
      .catch(() => undefined);
  let broken = 0;
  for (const { at, fault } of plan) {
    while (performance.now() - begun < at && goOn()) await pause(5);
    if (!goOn()) break;
    broken++;
    if (fault === 'listener') await terminate(`application_name = 'rowcast listener'`);
    else if (fault === 'backends')
      await terminate(`application_name like 'rowcast%' or application_name = 'oracle writer'`);
    else if (fault === 'restart') await postgres.stop('fast').then(postgres.start);
    else if (fault === 'crash') await postgres.stop('immediate').then(postgres.start);
    else if (fault === 'leave') followers[random.below(followers.length)]?.drop();
    else {
      const n = random.below(nodes.length);
      const node = nodes[n];
      if (!node) continue;
      nodes[n] = null;
      await node.end(fault === 'kill' ? 'SIGKILL' : 'SIGTERM');
      nodes[n] = await startNode(postgres.url, NODES[n] ?? {});
    }
  }
  return broken;
}

async function compare(
  postgres: Awaited<ReturnType<typeof startServer>>,
  followers: readonly Follower[],
): Promise<void> {
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

async function pause(ms: number): Promise<void> {
  const due = performance.now() + ms;
  await until(() => performance.now() >= due, { what: 'a moment' });
  await turn();
}
