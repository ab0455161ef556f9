/** Writers that wait for each other, on a disk so slow that they never come thick. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type pg from 'pg';
import { PACE } from '../src/leader.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { type Server, startServer } from './harness/server.ts';

const WRITERS = 6;

let server: Server;
let instance: Instance;
let writers: pg.Client[];

beforeAll(async () => {
  // Each flush takes so much longer: 50 NOTIFYs a second are the most that there can be.
  server = await startServer({ commit_delay: '20000', commit_siblings: '0' });
  await server.query(`create table item (id int generated always as identity primary key, n int);
    select rowcast.watch('item', access => 'public')`);
  instance = await startInstance(server.url, {}, { pace: { ...PACE, windowMs: 200 } });
  await instance.observed.next('feed.read', ({ reason }) => reason === 'calm');
  writers = await Promise.all(Array.from({ length: WRITERS }, () => server.client()));
});
afterAll(async () => {
  for (const writer of writers) await writer.end();
  await instance.stop();
  await server.dispose();
});

it('are muted at any rate, and nothing is missed', async () => {
  const client = await instance.subscriber('item');
  const seen = instance.observed.since();
  const isMuted = () => seen.all.some(({ type }) => type === 'leader.muted');
  const deadline = performance.now() + 10_000;
  let written = 0;
  const write = async (writer: pg.Client) => {
    while (!isMuted() && performance.now() < deadline) {
      await writer.query('insert into item (n) values (0)');
      written++;
    }
  };
  await Promise.all(writers.map(write));

  expect(isMuted()).toBe(true);
  const changes = () =>
    client.frames
      .filter(({ type }) => type === 'change')
      .reduce((sum, frame) => sum + (frame['changes'] as unknown[]).length, 0);
  await until(() => changes() >= written, { what: 'all changes came' });
  expect(changes()).toBe(written);
  await client.close();
});

it('are not, one at a time', async () => {
  const seen = instance.observed.since();
  await instance.observed.next('leader.unmuted');
  for (let n = 0; n < 30; n++) await writers[n % WRITERS]?.query('insert into item (n) values (0)');
  expect(seen.all.some(({ type }) => type === 'leader.muted')).toBe(false);
});
