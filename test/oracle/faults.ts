/** What breaks in the oracle's world, and when: planned from the seed in advance. */
import type { Server } from '../harness/server.ts';
import type { Follower } from './follower.ts';
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
  /** A client leaves. */
  | 'leave';

export interface World {
  readonly postgres: Server;
  readonly nodes: (Node | null)[];
  readonly followers: Follower[];
  /** What the instance at the same place is started with. */
  readonly settings: readonly Readonly<Record<string, string>>[];
  /** Told by instances before they were ended. */
  mutings: number;
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
    await breakOne(fault, random, world, turn);
    broken++;
  }
  return broken;
}

/** `turn` is how many of the same kind came before. */
async function breakOne(fault: Fault, random: Random, world: World, turn: number): Promise<void> {
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
    case 'kill leader':
      for (const [n, node] of nodes.entries()) {
        if (node !== null && (await node.metrics()).leading) return endNode(n, 'SIGKILL', world);
      }
      return;
    default:
      return endNode(random.below(nodes.length), fault === 'kill' ? 'SIGKILL' : 'SIGTERM', world);
  }
}

async function endNode(n: number, signal: 'SIGTERM' | 'SIGKILL', world: World): Promise<void> {
  const { postgres, nodes, settings } = world;
  const node = nodes[n];
  if (!node) return;
  world.mutings += (await node.metrics()).mutings;
  nodes[n] = null;
  await node.end(signal);
  nodes[n] = await startNode(postgres.url, settings[n] ?? {});
}
