/** What one instance holds on one core, in the memory of a small container: the figures that docs/capacity.md reckons with. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Measurement, Result } from './measurement.ts';
import { clockMs, pace } from './rig/clock.ts';
import type { Instance } from './rig/instance.ts';
import { openFilesLimit } from './rig/machine.ts';
import { createMessages, watch } from './rig/messages.ts';
import type { Peer } from './rig/peer.ts';
import type { Rig } from './rig/rig.ts';
import { median } from './rig/statistics.ts';
import { cpuUs, kernelBytes, residentBytes } from './rig/usage.ts';

/** A container of 512 MB: what JavaScript may take of it. */
const HEAP_MB = 256;
const CONTAINER_BYTES = 512e6;
/** The rest of the memory is for bursts. */
const USABLE_MEMORY = 0.8;

const TASKSET = ['/usr/bin/taskset', '/bin/taskset'];

const CLIENTS = [1000, 5000, 10_000];
/** Files that a process needs besides its connections. */
const OTHER_FILES = 200;
const SETTLE_MS = 2000;
const FRAMES_PER_SECOND = [10_000, 25_000, 50_000, 100_000, 200_000];
const ROUNDS = 5;
const ROUND_MS = 2000;
/** Commits come no closer than this. */
const LEAST_INTERVAL_MS = 2;

/** The number of the table `watched` for the writers. */
const WATCHED = 2;
const LEAD_IN_MS = 600;
const WRITERS = [1, 4, 16];
const QUIET_COMMITS_PER_SECOND = [50, 200];

interface Scene {
  readonly instance: Instance;
  readonly receivers: Peer;
  commit(): Promise<void>;
  readonly writers: Peer;
}

export const capacity: Measurement = {
  name: 'capacity',
  about: `what an instance on one core costs: a connection, a frame, a commit (heap of ${HEAP_MB} MB)`,
  // Its results are notes.
  bound: { atMost: Number.POSITIVE_INFINITY },
  lacks: () => (TASKSET.some((path) => existsSync(path)) ? undefined : 'taskset'),
  async run(rig) {
    const scene = await prepare(rig);
    return [...(await commits(scene, rig)), ...(await clientsAndFrames(scene, rig))];
  },
};

async function prepare(rig: Rig): Promise<Scene> {
  const url = await rig.database('bench_capacity');
  const writer = await rig.client(url);
  await writer.query('set synchronous_commit = off');
  await writer.query(createMessages('watched'));
  await writer.query(watch('watched'));
  const instance = await rig.instance(url, { NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` });
  execFileSync('taskset', ['-acp', '0', String(instance.pid)]);
  const subscribe = JSON.stringify({ type: 'subscribe', id: '1', topic: 'watched' });
  return {
    instance,
    receivers: await rig.peer('receivers', instance.port, subscribe),
    async commit() {
      await writer.query('insert into watched (content) values ($1)', ['hello world, this is a message']);
    },
    writers: await rig.peer('writers', url),
  };
}

/** What a commit costs while there is one client: few a second, and as many as can be made. */
async function commits({ instance, receivers, commit, writers }: Scene, rig: Rig): Promise<Result[]> {
  await receivers.ask('connect', 1);
  const results: Result[] = [];
  for (const rate of QUIET_COMMITS_PER_SECOND) {
    const costs: number[] = [];
    for (let round = 0; round <= roundsOf(rig); round++) {
      const before = cpuUs(instance.pid);
      const count = (rate * ROUND_MS) / 1000;
      await pace(count, 1000 / rate, commit);
      if (round > 0) costs.push((cpuUs(instance.pid) - before) / count);
    }
    results.push(note(`${rate} commits a second`, {}, median(costs), 'µs of CPU a commit'));
  }
  for (const connections of WRITERS) {
    await writers.ask('connect', connections, 0);
    const [rates, costs]: [number[], number[]] = [[], []];
    for (let round = 0; round <= roundsOf(rig); round++) {
      const before = cpuUs(instance.pid);
      const [rate = 0, all = 0] = await writers.ask('write', WATCHED, connections, LEAD_IN_MS, ROUND_MS);
      if (round === 0) continue;
      rates.push(rate);
      costs.push((cpuUs(instance.pid) - before) / all);
    }
    const made = `${Math.round(median(rates)).toLocaleString('en')} commits a second`;
    results.push(note(`${made} from ${connections} connections`, {}, median(costs), 'µs of CPU a commit'));
  }
  return results;
}

/** What connections cost, and frames to them. */
async function clientsAndFrames(scene: Scene, rig: Rig): Promise<Result[]> {
  const { instance, receivers } = scene;
  const results: Result[] = [];
  let connected = 1;
  for (const wanted of CLIENTS) {
    const clients = Math.min(wanted, openFilesLimit() - OTHER_FILES);
    const before = { resident: residentBytes(instance.pid), kernel: kernelBytes(), cpu: cpuUs(instance.pid) };
    await receivers.ask('connect', clients - connected);
    const cpu = cpuUs(instance.pid) - before.cpu;
    await delay(SETTLE_MS);
    const resident = residentBytes(instance.pid);
    const more = clients - connected;
    const own = (resident - before.resident) / more;
    // Both ends of each connection are on this machine.
    const kernel = (kernelBytes() - before.kernel) / more / 2;
    results.push(
      note(
        `${clients.toLocaleString('en')} clients`,
        {
          'to connect and subscribe': `${(cpu / more).toFixed(0)} µs of CPU each`,
          'a connection': `${(own / 1000).toFixed(1)} kB and ${(kernel / 1000).toFixed(1)} kB in the kernel`,
          'would fill the container': Math.floor(
            (CONTAINER_BYTES * USABLE_MEMORY - resident) / (own + kernel) + clients,
          ).toLocaleString('en'),
        },
        resident / 1e6,
        'MB resident',
      ),
    );
    connected = clients;
    for (const rate of FRAMES_PER_SECOND) {
      const seen = await frames(scene, clients, rate, rig);
      if (seen !== undefined) results.push(seen);
    }
  }
  return results;
}

/** So many frames a second; undefined where commits would come too close for that. */
async function frames(
  { instance, receivers, commit }: Scene,
  clients: number,
  framesPerSecond: number,
  rig: Rig,
): Promise<Result | undefined> {
  const intervalMs = (clients / framesPerSecond) * 1000;
  if (intervalMs < LEAST_INTERVAL_MS) return undefined;
  const count = Math.ceil(ROUND_MS / intervalMs);
  const [rates, costs, shares]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round <= roundsOf(rig); round++) {
    await receivers.ask('mark');
    const before = cpuUs(instance.pid);
    const begunMs = clockMs();
    await pace(count, intervalMs, commit);
    const [, lastMs = Number.NaN] = await receivers.ask('until', count * clients);
    // The last frame was due an interval before the round's end.
    const tookMs = Math.max(lastMs - begunMs, count * intervalMs);
    const cpu = cpuUs(instance.pid) - before;
    if (round === 0) continue;
    rates.push(((count * clients) / tookMs) * 1000);
    costs.push(cpu / (count * clients));
    shares.push(cpu / tookMs / 1000);
  }
  return note(
    `${clients.toLocaleString('en')} clients, ${framesPerSecond.toLocaleString('en')} frames a second`,
    {
      came: `${Math.round(median(rates)).toLocaleString('en')} a second`,
      core: `${Math.round(median(shares) * 100)} %`,
      memory: `${(residentBytes(instance.pid) / 1e6).toFixed(0)} MB`,
    },
    median(costs),
    'µs of CPU a frame',
  );
}

function roundsOf({ quick }: Rig): number {
  return quick ? 1 : ROUNDS;
}

function note(name: string, figures: Record<string, string>, value: number, unit: string): Result {
  return { case: name, figures, value, unit, unbound: true };
}
