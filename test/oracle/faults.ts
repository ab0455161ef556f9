/** What breaks in the oracle's world, and when: planned from the seed in advance. */
import type { Nats } from '../harness/nats-server.ts';
import type { startProxy } from '../harness/proxy.ts';
import type { Server } from '../harness/server.ts';
import type { Following } from './follower.ts';
import { type Node, startNode } from './node.ts';
import type { OracleOptions } from './oracle.ts';
import { pause } from './pause.ts';
import type { Random } from './random.ts';

export type Fault =
  /** The backend of each listener, or of all that rowcast and the writers have, is terminated. */
  | 'listener'
  | 'backends'
  /** PostgreSQL is restarted, fast or at once. */
  | 'restart'
  | 'crash'
  /** An instance is ended with SIGTERM or SIGKILL, and started again. */
  | 'drain'
  | 'kill'
  /** The leader is killed; one of its backends after the other is terminated. */
  | 'kill leader'
  | 'leader backend'
  /** NATS is stopped, and started later; one half of the instances cannot reach it, or hears nothing from it. */
  | 'nats'
  | 'nats cut off'
  | 'nats silent'
  /** A client leaves. */
  | 'leave';

export interface NatsWorld {
  readonly server: Nats;
  readonly proxies: readonly Awaited<ReturnType<typeof startProxy>>[];
}

export interface World {
  readonly postgres: Server;
  /** By which they hear, each half through a proxy of its own. */
  readonly nats: NatsWorld | null;
  readonly nodes: (Node | null)[];
  readonly followers: Following[];
  /** What the instance at the same place is started with. */
  readonly settings: readonly Readonly<Record<string, string>>[];
  /** Told by instances before they were ended. */
  told: Record<'mutings' | 'heard' | 'gaps' | 'fallbacks', number>;
}

/** Adds what an instance tells of its time. */
export async function tally(node: Node, { told }: Pick<World, 'told'>): Promise<void> {
  const { mutings, heard, gaps, fallbacks } = await node.metrics();
  told.mutings += mutings;
  told.heard += heard;
  told.gaps += gaps;
  told.fallbacks += fallbacks;
}

const LEADER_BACKENDS = ['rowcast leader', 'rowcast', 'rowcast listener', 'rowcast catch-up'];

/** Breaks what is planned until it is told to stop. Gives how many things it broke. */
export async function breakThings(
  random: Random,
  { faults, durationMs }: Pick<OracleOptions, 'faults' | 'durationMs'>,
  world: World,
  goOn: () => boolean,
): Promise<number> {
  const kinds = Object.entries(faults) as [Fault, number][];
  const sum = kinds.reduce((total, [, rate]) => total + rate, 0);
  // Planned in advance, so that a seed always breaks the same things at the same times.
  const plan: { at: number; fault: Fault; turn: number }[] = [];
  for (let at = 500; at < durationMs; at += -Math.log(1 - random.next()) * (1000 / sum)) {
    let choice = random.next() * sum;
    const fault = kinds.find(([, rate]) => {
      choice -= rate;
      return choice < 0;
    });
    const kind = fault?.[0] ?? 'leave';
    plan.push({ at, fault: kind, turn: plan.filter((one) => one.fault === kind).length });
  }
  const begun = performance.now();
  let broken = 0;
  for (const { at, fault, turn } of plan) {
    while (performance.now() - begun < at && goOn()) await pause(5);
    if (!goOn()) break;
    await breakOne(fault, random, world, turn, goOn);
    broken++;
  }
  return broken;
}

/** `turn` is how many of the same kind came before. */
async function breakOne(
  fault: Fault,
  random: Random,
  world: World,
  turn: number,
  goOn: () => boolean,
): Promise<void> {
  const { postgres, nodes, followers } = world;
  const terminate = (where: string) =>
    postgres
      .query(
        `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and ${where}`,
      )
      .catch(() => undefined);
  switch (fault) {
    case 'listener':
      await terminate(`application_name = 'rowcast listener'`);
      return;
    case 'backends':
      await terminate(`application_name like 'rowcast%' or application_name = 'oracle writer'`);
      return;
    case 'restart':
    case 'crash':
      await postgres.stop(fault === 'restart' ? 'fast' : 'immediate').then(postgres.start);
      return;
    case 'leave':
      followers[random.below(followers.length)]?.drop();
      return;
    case 'leader backend': {
      const name = LEADER_BACKENDS[turn % LEADER_BACKENDS.length];
      // Only the leader has been granted the lead; its other backends cannot be told from those of the others.
      await terminate(
        name === 'rowcast leader'
          ? `pid in (select pid from pg_locks where locktype = 'advisory' and objid = 3 and granted)`
          : `application_name = '${name}'`,
      );
      return;
    }
    case 'nats':
    case 'nats cut off':
    case 'nats silent':
      return breakNats(fault, random, world, turn, goOn);
    case 'kill leader': {
      const leading = await leaderOf(world);
      return leading === undefined ? undefined : endNode(leading, 'SIGKILL', world);
    }
    default:
      return endNode(random.below(nodes.length), fault === 'kill' ? 'SIGKILL' : 'SIGTERM', world);
  }
}

async function leaderOf({ nodes }: World): Promise<number | undefined> {
  for (const [n, node] of nodes.entries()) {
    if (node !== null && (await node.metrics()).leading) return n;
  }
  return undefined;
}

async function breakNats(
  fault: 'nats' | 'nats cut off' | 'nats silent',
  random: Random,
  world: World,
  turn: number,
  goOn: () => boolean,
): Promise<void> {
  if (world.nats === null) return;
  const { server, proxies } = world.nats;
  // The leader's half and the other one, in turns.
  const proxy = proxies[(((await leaderOf(world)) ?? 0) + turn) % proxies.length];
  // So long that all notice, silence by its length alone, or so short that hardly anybody does.
  const longMs = (fault === 'nats silent' ? 5_000 : 500) + random.below(2_000);
  const until = performance.now() + (random.chance(0.5) ? longMs : random.below(500));
  const last = async () => {
    while (goOn() && performance.now() < until) await pause(5);
  };
  if (fault === 'nats') {
    await server.stop();
    await last();
    await server.start();
  } else if (fault === 'nats cut off') {
    await proxy?.refuse();
    proxy?.cut();
    await last();
    await proxy?.accept();
  } else {
    proxy?.silence();
    await last();
    proxy?.resume();
  }
}

async function endNode(n: number, signal: 'SIGTERM' | 'SIGKILL', world: World): Promise<void> {
  const { postgres, nodes, settings } = world;
  const node = nodes[n];
  if (!node) return;
  await tally(node, world);
  nodes[n] = null;
  await node.end(signal);
  nodes[n] = await startNode(postgres.url, settings[n] ?? {});
}
