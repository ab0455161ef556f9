/**
 * Faults under load, behind HAProxy: instances stopped in turn, killed, and PostgreSQL paused, while thousands of
 * clients listen. ROLLING_CLIENTS says how many, 5,000 by default.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { until } from '../harness/facts.ts';
import { type Crowd, createCrowd, type Report } from '../rolling/crowd.ts';
import { startWriting, TABLE, type Writing } from '../rolling/writing.ts';
import { docker, inspect, ready, say } from './docker.ts';
import { type Stack, startStack } from './stack.ts';

const CLIENTS = Number(process.env['ROLLING_CLIENTS'] ?? 5_000);
const COMMITS_PER_SECOND = 200;
/** As compose.yaml has it. */
const DRAIN_S = 10;
const ROUNDS = 3;
const PAUSED_MS = 20_000;
const MOST_WAITED_MS = 5_000;

describe(`${CLIENTS} clients behind HAProxy, and ${COMMITS_PER_SECOND} commits a second`, () => {
  let stack: Stack;
  let crowd: Crowd;
  let writing: Writing;

  beforeAll(async () => {
    stack = await startStack();
    await stack.query(TABLE);
  });
  afterAll(() => stack.stop());

  /** Connects so many clients, and begins to write. */
  async function begin(clients: number): Promise<void> {
    await stack.query('truncate item');
    const rooms = Math.max(clients / 10, 1);
    crowd = createCrowd({ ...stack.wide, clients, rooms });
    await crowd.connect();
    crowd.report();
    writing = startWriting({
      databaseUrl: stack.databaseUrl,
      rooms,
      perSecond: COMMITS_PER_SECOND,
    });
  }
  afterEach(() => crowd.leave());

  /** Ends the writing; what every client must have seen of it, it has. */
  async function settle(what: string): Promise<Report & { commits: number }> {
    await until(() => crowd.away === 0, { timeoutMs: 30_000, what: 'all are back' });
    const commits = await writing.stop();
    await until(() => crowd.faults.length > 0 || crowd.behind(writing.committed) === 0, {
      timeoutMs: 30_000,
      what: 'every client has every change',
    });
    const report = crowd.report();
    say(`${what}: ${commits} commits, ${JSON.stringify(report)}`);
    expect(crowd.faults).toEqual([]);
    return { ...report, commits };
  }

  it('see every change once through rolling restarts, at no more than twice the pace', async () => {
    await begin(CLIENTS);
    for (let round = 0; round < ROUNDS; round++) {
      for (const instance of stack.instances) {
        await docker('stop', '--time', '20', instance);
        expect(await inspect(instance, '{{.State.ExitCode}}')).toBe('0');
        await docker('start', instance);
        await ready(instance);
      }
    }
    const { mostInASecond, longestAwayMs, longestWaitMs, ends, commits } = await settle('rolling restarts');
    expect(Object.keys(ends)).toEqual(['1001']);
    expect(mostInASecond).toBeLessThanOrEqual((2 * CLIENTS) / DRAIN_S);
    expect(longestAwayMs).toBeLessThan(MOST_WAITED_MS);
    expect(longestWaitMs).toBeLessThan(MOST_WAITED_MS);
    expect(commits).toBeGreaterThan(ROUNDS * 2 * DRAIN_S * COMMITS_PER_SECOND * 0.9);
  });

  it('see every change once when an instance is killed', async () => {
    await begin(CLIENTS);
    const [killed = ''] = stack.instances;
    await docker('kill', '--signal', 'KILL', killed);
    await until(() => crowd.away > 0, { what: 'clients have noticed' });
    await until(() => crowd.away === 0, { timeoutMs: 30_000, what: 'they are back' });
    await docker('start', killed);
    await ready(killed);
    const { longestAwayMs, longestWaitMs } = await settle('an instance killed');
    expect(longestAwayMs).toBeLessThan(MOST_WAITED_MS);
    expect(longestWaitMs).toBeLessThan(MOST_WAITED_MS);
  });

  it('see every change once, on the same connections, when PostgreSQL stands still', async () => {
    await begin(CLIENTS);
    await docker('pause', stack.postgres);
    try {
      await sleep(PAUSED_MS);
    } finally {
      await docker('unpause', stack.postgres);
    }
    // It is over for the writers at once, and for the instances when they have read what was committed.
    for (const instance of stack.instances) await ready(instance);
    const { ends, longestWaitMs } = await settle('PostgreSQL paused');
    expect(ends).toEqual({});
    expect(longestWaitMs).toBeLessThan(PAUSED_MS + MOST_WAITED_MS);
  });
});
