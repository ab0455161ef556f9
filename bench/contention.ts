/** How much concurrent writers lose to NOTIFY's lock, which every NOTIFY holds until its commit is flushed. */
import type { Measurement, Result } from './measurement.ts';
import { clockMs, pace, takeRounds } from './rig/clock.ts';
import { flushMs } from './rig/disk.ts';
import { createMessages, logBarely, notifyNaively, watch } from './rig/messages.ts';
import type { Peer } from './rig/peer.ts';
import type { Rig } from './rig/rig.ts';
import { median, medianRatio } from './rig/statistics.ts';

/** As `peers/writers` numbers its tables. `logged`: by the least trigger that keeps a log, to see what any has to cost. */
const SIDES = ['untouched', 'naive', 'watched', 'logged'] as const;
type Side = (typeof SIDES)[number];

const CONNECTIONS = [1, 4, 16, 64];
/** By how much commits are delayed while they are flushed, beside what the disk takes. */
const DELAYS_US = [0, 1000];
/** Until rowcast has muted the writers, and every connection has its plans. */
const LEAD_IN_MS = 600;
const ROUND_MS = 1000;
const CASE_MS = 20_000;

/** In which rowcast unmutes the writers. */
const QUIET_LEAD_IN = 200;
const QUIET_COMMITS = 500;
const QUIET_INTERVAL_MS = 10;

interface Scene {
  readonly writers: Readonly<Record<Side, Peer>>;
  readonly subscriber: Peer;
  /** Commits a row to the watched table that says when that was. */
  commit(): Promise<void>;
  /** How long the disk takes to flush a page. */
  readonly flushMs: number;
}

export const contention: Measurement = {
  name: 'contention',
  about: 'one-row transactions a second, side by side: no trigger, a naive NOTIFY trigger, rowcast',
  bound: { atLeast: 2.5 },
  async run(rig) {
    const scene = await prepare(rig);
    const results: Result[] = [];
    for (const delayUs of DELAYS_US) {
      const flush = `flush ${(scene.flushMs + delayUs / 1000).toFixed(2)} ms`;
      for (const connections of CONNECTIONS) {
        await scene.writers.naive.ask('connect', connections, delayUs);
        await scene.writers.watched.ask('connect', connections, delayUs);
        results.push(...(await compare(scene, connections, flush, rig.quick ? 1 : CASE_MS)));
      }
    }
    results.push(await quiet(scene, rig.quick ? 100 : QUIET_COMMITS));
    return results;
  },
};

async function prepare(rig: Rig): Promise<Scene> {
  // Two databases: whoever listens is woken by every NOTIFY in its own.
  const plain = await rig.database('bench_naive');
  const ours = await rig.database('bench_watched');
  const [admin, writer] = [await rig.client(plain), await rig.client(ours)];
  for (const table of ['untouched', 'naive', 'logged']) await admin.query(createMessages(table));
  await admin.query(notifyNaively('naive'));
  await admin.query(logBarely('logged'));
  await writer.query(createMessages('watched'));
  await writer.query(watch('watched'));
  const { rows } = await admin.query<{ folder: string }>(
    `select current_setting('data_directory') as folder`,
  );
  const { port } = await rig.instance(ours);
  // A queue that nobody reads costs less.
  await rig.peer('pg-client', plain, 'x');
  const beside = await rig.peer('writers', plain);
  return {
    writers: { untouched: beside, naive: beside, logged: beside, watched: await rig.peer('writers', ours) },
    subscriber: await rig.peer('subscriber', port, 'watched'),
    async commit() {
      await writer.query('insert into watched (content) values ($1)', [clockMs().toFixed(3)]);
    },
    flushMs: await flushMs(rows[0]?.folder ?? ''),
  };
}

async function compare(
  { writers, subscriber }: Scene,
  connections: number,
  flush: string,
  forMs: number,
): Promise<Result[]> {
  const rates: Record<Side, number[]> = { untouched: [], naive: [], watched: [], logged: [] };
  const medians: number[] = [];
  const slowest: number[] = [];
  await takeRounds(forMs, async () => {
    for (const [table, side] of SIDES.entries()) {
      const [rate = Number.NaN, all = 0] = await writers[side].ask(
        'write',
        table,
        connections,
        LEAD_IN_MS,
        ROUND_MS,
      );
      rates[side].push(rate);
      if (side !== 'watched') continue;
      const [halfMs = Number.NaN, p99Ms = Number.NaN] = await subscriber.ask('took', all);
      medians.push(halfMs);
      slowest.push(p99Ms);
    }
  });
  const figures = {
    'no trigger': `${median(rates.untouched).toFixed(0)}/s`,
    naive: `${median(rates.naive).toFixed(0)}/s`,
    rowcast: `${median(rates.watched).toFixed(0)}/s`,
  };
  const toClient = {
    'to the client, median': `${median(medians).toFixed(1)} ms`,
    p99: `${median(slowest).toFixed(1)} ms`,
  };
  const where = `${connections} ${connections === 1 ? 'connection' : 'connections'}, ${flush}`;
  const beside = { value: medianRatio(rates.watched, rates.naive) };
  const alone = { value: medianRatio(rates.watched, rates.untouched) };
  const isMany = connections >= 16;
  return [
    {
      case: `${where}, against naive`,
      figures,
      ...beside,
      ...(isMany ? {} : connections === 1 ? { bound: { atLeast: 0.9 } } : { unbound: true as const }),
    },
    {
      case: `${where}, against no trigger`,
      figures: toClient,
      ...alone,
      ...(isMany ? { bound: { atLeast: 0.55 } } : { unbound: true as const }),
    },
    {
      case: `${where}, a bare log against no trigger`,
      figures: { 'bare log against naive': medianRatio(rates.logged, rates.naive).toFixed(2) },
      value: medianRatio(rates.logged, rates.untouched),
      unbound: true as const,
    },
  ];
}

async function quiet({ subscriber, commit }: Scene, commits: number): Promise<Result> {
  await pace(QUIET_LEAD_IN, QUIET_INTERVAL_MS, commit);
  await subscriber.ask('took', QUIET_LEAD_IN);
  await pace(commits, QUIET_INTERVAL_MS, commit);
  const [halfMs = Number.NaN, p99Ms = Number.NaN] = await subscriber.ask('took', commits);
  return {
    case: '100 commits a second, to the client',
    figures: { p99: `${p99Ms.toFixed(2)} ms` },
    value: halfMs,
    unit: 'ms, median',
    unbound: true,
  };
}
