/** How many frames a second reach many clients of one topic: at a rate that both sides keep up with, and at saturation. */
import type { Measurement, Result } from './measurement.ts';
import { clockMs, pace, takeRounds } from './rig/clock.ts';
import type { Rig } from './rig/rig.ts';
import { type Side, startSides } from './rig/sides.ts';
import { median, medianRatio } from './rig/statistics.ts';
import { cpuUs } from './rig/usage.ts';

/** What one round saw. */
interface Round {
  readonly framesPerSecond: number;
  /** Of the server, for each frame. */
  readonly cpuUs: number;
}

/** Loads the side with commits; gives how many, and when the last frame came. */
type Load = (side: Side, clients: number) => Promise<{ commits: number; lastMs: number }>;

const CLIENTS = [1000, 5000];
const FRAMES_PER_SECOND = 25_000;
const ROUND_MS = 1000;
const CASE_MS = 20_000;
/** At saturation the writer is about this many commits ahead of the clients. */
const AHEAD = 32;

export const fanOut: Measurement = {
  name: 'fan-out',
  about: 'frames a second at a steady rate: rowcast against a bare uWebSockets.js publish of the same bytes',
  bound: { atLeast: 0.95 },
  run: (rig) => compare(rig, 'bench_fan_out', steadily),
};

export const saturation: Measurement = {
  name: 'saturation',
  about: 'frames a second, as many as get through: rowcast against a bare uWebSockets.js publish',
  bound: { atLeast: 0.85 },
  run: (rig) => compare(rig, 'bench_saturation', toTheFull),
};

async function compare(rig: Rig, database: string, load: Load): Promise<Result[]> {
  const forMs = rig.quick ? 0 : CASE_MS;
  const { rowcast, bare } = await startSides(rig, database);
  const results: Result[] = [];
  let connected = 0;
  for (const clients of CLIENTS) {
    for (const side of [rowcast, bare]) await side.receivers.ask('connect', clients - connected);
    connected = clients;
    let seen: Record<'rowcast' | 'bare', Round[]> = { rowcast: [], bare: [] };
    const takeRound = async () => {
      seen.bare.push(await measure(bare, clients, load));
      seen.rowcast.push(await measure(rowcast, clients, load));
    };
    await takeRound();
    // That was to warm up.
    seen = { rowcast: [], bare: [] };
    await takeRounds(forMs, takeRound);
    results.push(resultOf(clients, seen));
  }
  return results;
}

async function measure(side: Side, clients: number, load: Load): Promise<Round> {
  await side.receivers.ask('mark');
  const before = cpuUs(side.pid);
  const begunMs = clockMs();
  const { commits, lastMs } = await load(side, clients);
  const frames = commits * clients;
  return {
    framesPerSecond: (frames / (lastMs - begunMs)) * 1000,
    cpuUs: (cpuUs(side.pid) - before) / frames,
  };
}

async function steadily(...[side, clients]: Parameters<Load>): ReturnType<Load> {
  const intervalMs = (clients / FRAMES_PER_SECOND) * 1000;
  const commits = Math.ceil(ROUND_MS / intervalMs);
  await pace(commits, intervalMs, side.commit);
  return { commits, lastMs: await arrival(side, commits * clients) };
}

async function toTheFull(...[side, clients]: Parameters<Load>): ReturnType<Load> {
  const deadline = clockMs() + ROUND_MS;
  let commits = 0;
  while (clockMs() < deadline) {
    for (let sent = 0; sent < AHEAD / 2; sent++) await side.commit();
    commits += AHEAD / 2;
    await arrival(side, (commits - AHEAD / 2) * clients);
  }
  return { commits, lastMs: await arrival(side, commits * clients) };
}

/** Waits until so many frames have come; gives when the last one did. */
async function arrival({ receivers }: Side, frames: number): Promise<number> {
  const [counted = 0, lastMs = Number.NaN] = await receivers.ask('until', frames);
  if (frames > 0 && counted < frames) throw new Error(`${counted} frames came of ${frames}`);
  return lastMs;
}

function resultOf(clients: number, { rowcast, bare }: Record<'rowcast' | 'bare', Round[]>): Result {
  const rates = (rounds: Round[]) => rounds.map((round) => round.framesPerSecond);
  const cpu = (rounds: Round[]) => rounds.map((round) => round.cpuUs);
  const spelled = (rounds: Round[]) =>
    `${Math.round(median(rates(rounds))).toLocaleString('en')} frames/s at ${median(cpu(rounds)).toFixed(2)} µs CPU`;
  return {
    case: `${clients.toLocaleString('en')} clients`,
    figures: {
      bare: spelled(bare),
      rowcast: spelled(rowcast),
      'CPU ratio': medianRatio(cpu(rowcast), cpu(bare)).toFixed(2),
    },
    value: medianRatio(rates(rowcast), rates(bare)),
  };
}
