/** A rolling restart: each instance stopped and started in turn behind a load balancer, while clients and writers go on. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { addressOf, type Program, startProgram } from '../harness/program.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import { type Crowd, createCrowd, mostWithin } from './crowd.ts';
import { startWriting, TABLE } from './writing.ts';

const CLIENTS = 400;
const ROOMS = 40;
const COMMITS_PER_SECOND = 100;
const DRAIN_S = 3;
const MOST_AWAY_MS = 5_000;

interface Running {
  program: Program;
  url: string;
}

let database: Database;
let balancer: Balancer;
let crowd: Crowd | undefined;
const running: Running[] = [];

async function start(): Promise<Running> {
  const env = { DATABASE_URL: database.url, HOST: '127.0.0.1', PORT: '0' };
  const program = startProgram(['serve'], { env: { ...env, ROWCAST_DRAIN_MS: String(DRAIN_S * 1_000) } });
  const url = await addressOf(program);
  const started = { program, url };
  running.push(started);
  balancer.add(url);
  await until(() => balancer.isReady(url), { what: 'the balancer takes it for ready' });
  return started;
}

async function stop({ program, url }: Running): Promise<void> {
  program.kill('SIGTERM');
  expect(await program.ended).toMatchObject({ code: 0, stderr: '' });
  balancer.remove(url);
}

/** A crowd behind so many instances. */
async function gather(instances: number): Promise<Crowd> {
  database = await createDatabase();
  await database.query(TABLE);
  balancer = await startBalancer();
  for (let n = 0; n < instances; n++) await start();
  const all = createCrowd({ port: balancer.port, clients: CLIENTS, rooms: ROOMS });
  crowd = all;
  await all.connect();
  return all;
}

describe('a rolling restart', () => {
  afterEach(async () => {
    crowd?.leave();
    balancer.close();
    for (const { program } of running) program.kill('SIGKILL');
    await Promise.all(running.splice(0).map(({ program }) => program.ended));
    await database.drop();
  });

  it('loses and doubles nothing, storms no instance, and keeps nobody waiting', async () => {
    const all = await gather(2);
    const first = [...running];
    const writing = startWriting({
      databaseUrl: database.url,
      rooms: ROOMS,
      perSecond: COMMITS_PER_SECOND,
    });
    for (const instance of first) {
      await stop(instance);
      await start();
    }
    await until(() => all.away === 0, { what: 'all are back' });
    const commits = await writing.stop();
    await until(() => all.faults.length > 0 || all.behind(writing.committed) === 0, {
      what: 'every client has every change',
    });
    expect(all.faults).toEqual([]);
    expect(commits).toBeGreaterThan(COMMITS_PER_SECOND);
    const report = all.report();
    // All of them were on the second, but those who came late enough from the first to be on its successor.
    expect(report.reconnects).toBeGreaterThan(CLIENTS);
    expect(report.ends).toEqual({ 1001: report.reconnects });
    expect(report.mostInASecond).toBeLessThanOrEqual((2 * CLIENTS) / DRAIN_S);
    expect(report.longestAwayMs).toBeLessThan(MOST_AWAY_MS);
    expect(report.longestWaitMs).toBeLessThan(MOST_AWAY_MS);
  });

  it('that ends in a kill as soon as there is another keeps nobody waiting, nor asks the log for each', async () => {
    const all = await gather(1);
    const [first] = running;
    const writing = startWriting({
      databaseUrl: database.url,
      rooms: ROOMS,
      // More than would be led through the log one by one.
      perSecond: 5 * COMMITS_PER_SECOND,
    });
    await until(() => writing.committed.size === ROOMS, { what: 'each room has a change' });
    all.report();
    const next = await start();
    first?.program.kill('SIGKILL');
    balancer.remove(first?.url ?? '');
    let back = all.report();
    const isBack = () => {
      if (all.away > 0) return false;
      back = all.report();
      return back.reconnects > 0;
    };
    await until(isBack, { what: 'all are back' });
    expect(back.longestAwayMs).toBeLessThan(MOST_AWAY_MS);
    expect(back.longestWaitMs).toBeLessThan(MOST_AWAY_MS);
    await writing.stop();
    await until(() => all.faults.length > 0 || all.behind(writing.committed) === 0, {
      what: 'every client has every change',
    });
    expect(all.faults).toEqual([]);
    const metrics = await (await fetch(`${next.url}/metrics`)).text();
    const resumes = (source: string) => {
      const [, count] =
        new RegExp(`^rowcast_resumes_total{source="${source}"} (\\d+)$`, 'm').exec(metrics) ?? [];
      return Number(count);
    };
    expect(resumes('ring')).toBeGreaterThanOrEqual(CLIENTS);
    expect(resumes('log')).toBe(0);
  });
});

describe('how many came within a second', () => {
  it('is the most of any second, wherever it begins', () => {
    expect(mostWithin(1_000, [])).toBe(0);
    expect(mostWithin(1_000, [0, 900, 950, 1_500, 1_899, 1_900, 5_000])).toBe(4);
  });
});
