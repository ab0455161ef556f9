/** How long a commit takes to a client: measured for the same commits from just before COMMIT is sent. */
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../src/dev/port.ts';
import type { Measurement, Result } from './measurement.ts';
import { clockMs, pace } from './rig/clock.ts';
import { createMessages, watch } from './rig/messages.ts';
import type { Rig } from './rig/rig.ts';
import { median } from './rig/statistics.ts';

const CHANNEL = 'rowcast';
const INTERVAL_MS = 10;
/** As good as none: an interpreter runs what runs seldom. */
const FIRST = 200;
/** As many as 100 a second bring in minutes: by then it is machine code. Not so thick that they are muted. */
const WARM_UP = 20_000;
const WARM_UP_PAUSE_MS = 1;

/** Starts what serves changes of a database to clients; gives its port. */
type Serve = (rig: Rig, url: string) => Promise<number>;

const SERVERS = {
  async rowcast(rig, url) {
    const { port } = await rig.instance(url);
    return port;
  },
  async 'bare relay'(rig, url) {
    // As a leader that is calm: else a NOTIFY does not carry the changes.
    const calm = await rig.client(url);
    await calm.query(`select pg_advisory_lock(hashtext('rowcast'), 6)`);
    const port = await freePort();
    await rig.peer('bare-relay', url, CHANNEL, port);
    return port;
  },
} satisfies Record<string, Serve>;

export const latency: Measurement = {
  name: 'latency',
  about: 'commit to client, 100 commits a second, median: rowcast over WebSocket against a bare pg client',
  bound: { atMost: 1.25 },
  async run(rig) {
    const results = await take(rig, 'bench_latency', 'rowcast');
    const floor = await take(rig, 'bench_latency_relay', 'bare relay');
    return [...results, ...floor.map((result) => ({ ...result, unbound: true as const }))];
  },
};

async function take(rig: Rig, database: string, server: keyof typeof SERVERS): Promise<Result[]> {
  const commits = rig.quick ? 200 : 1500;
  const url = await rig.database(database);
  const writer = await rig.client(url);
  await writer.query(createMessages('messages'));
  await writer.query(watch('messages'));
  const port = await SERVERS[server](rig, url);
  const bare = await rig.peer('pg-client', url, CHANNEL);
  const served = await rig.peer('ws-client', port, 'messages');

  /** Gives when it sent COMMIT. */
  async function commitOne(): Promise<number> {
    await writer.query('begin');
    await writer.query('insert into messages (content) values ($1)', ['hello world, this is a message']);
    const sentMs = clockMs();
    await writer.query('commit');
    return sentMs;
  }

  async function commit(times: number): Promise<number[]> {
    const sentMs: number[] = [];
    await pace(times, INTERVAL_MS, async () => {
      sentMs.push(await commitOne());
    });
    return sentMs;
  }

  /** What both clients say of so many commits. */
  async function arrivals(times: number): Promise<number[][]> {
    return Promise.all([bare.ask('take', times), served.ask('take', times)]);
  }

  async function measure(when: string): Promise<Result> {
    const sentMs = await commit(commits);
    const [bareMs = [], servedMs = []] = await arrivals(commits);
    const [bareMedian, servedMedian] = [since(sentMs, bareMs), since(sentMs, servedMs)];
    return {
      case: `${server}, ${commits} commits ${when}`,
      figures: {
        'bare pg client': `${bareMedian.toFixed(3)} ms`,
        [server]: `${servedMedian.toFixed(3)} ms`,
        between: `${since(bareMs, servedMs).toFixed(3)} ms`,
      },
      value: servedMedian / bareMedian,
    };
  }

  await commit(FIRST);
  await arrivals(FIRST);
  const fresh = await measure('with all just started');
  for (let n = 0; n < WARM_UP; n++) {
    await delay(WARM_UP_PAUSE_MS);
    await commitOne();
  }
  await arrivals(WARM_UP);
  return [fresh, await measure(`after ${WARM_UP} others`)];
}

/** The median of how much later each of one list was than its like in the other. */
function since(earlierMs: number[], laterMs: number[]): number {
  return median(laterMs.map((ms, nth) => ms - (earlierMs[nth] ?? Number.NaN)));
}
