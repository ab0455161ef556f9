/** A client that does not read, end to end: it loses its connection, and nothing else. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { addressOf, startService } from './harness/program.ts';
import { connect, type Frame, type Socket } from './harness/socket.ts';

/** Read by both, and then published while one does not read. */
const READ = 60;
const COMMITS = READ + 200;
const COMMIT_CHARS = 1_000_000;
const MAX_BUFFERED_BYTES = 16 * 1024 * 1024;
/** What waits for it may be over the limit by a burst; allocators keep some more. */
const MAX_GROWTH_BYTES = 4 * MAX_BUFFERED_BYTES;
const MAX_LAG_MS = 2_000;

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
  await database.query(`create table item (id int primary key, filler text);
    select rowcast.watch('item', access => 'public')`);
});
afterAll(() => database.drop());

const idsOf = (frame: Frame) => (frame['changes'] as { key: { id: number } }[]).map(({ key }) => key.id);

async function subscribe(url: string, since?: string): Promise<Socket> {
  const socket = await connect(url);
  socket.send({ type: 'subscribe', id: 'a', topic: 'item', ...(since === undefined ? {} : { since }) });
  await socket.next('subscribed');
  return socket;
}

async function write(id: number): Promise<void> {
  await database.query(`insert into item values ($1, repeat('x', $2))`, [id, COMMIT_CHARS]);
}

describe('a client that reads nothing while 200 MB are published', () => {
  it('is cut off within its limit, makes nobody late, and has everything once when it returns', async () => {
    const program = startService(database.url, {
      ROWCAST_RING_BYTES: '4MiB',
      ROWCAST_MAX_BUFFERED_BYTES: `${MAX_BUFFERED_BYTES}`,
      NODE_OPTIONS: '--max-semi-space-size=2',
    });
    try {
      const http = await addressOf(program);
      const url = `${http.replace('http', 'ws')}/ws`;
      const [slow, quick] = [await subscribe(url), await subscribe(url)];
      let latest = 0;
      /** Publishes; gives the most memory that the process took meanwhile. */
      const publish = async (from: number, to: number) => {
        let most = 0;
        for (let id = from; id <= to; id++) {
          await write(id);
          const written = performance.now();
          await quick.next('change', (frame) => idsOf(frame).includes(id));
          latest = Math.max(latest, performance.now() - written);
          most = Math.max(most, await residentBytes(program.pid));
        }
        return most;
      };
      // What it takes for the same where all read.
      const before = await publish(1, READ);
      await slow.next('change', (frame) => idsOf(frame).includes(READ));
      slow.pause();
      const most = await publish(READ + 1, COMMITS);
      expect(latest).toBeLessThan(MAX_LAG_MS);
      expect(most - before).toBeLessThan(MAX_GROWTH_BYTES);
      await until(
        async () => (await (await fetch(`${http}/metrics`)).text()).match(/rowcast_sessions 1\b/) !== null,
        {
          what: 'one of the two is left',
        },
      );
      slow.resume();
      expect([4408, 1006]).toContain((await slow.closed).code);
      const got = slow.frames.filter(({ type }) => type === 'change');
      const cursor = String(got.at(-1)?.['cursor']);
      expect(got.flatMap(idsOf)).toEqual(Array.from({ length: got.length }, (_, n) => n + 1));
      expect(got.length).toBeLessThan(COMMITS);

      const again = await subscribe(url, cursor);
      await again.next('live', undefined, 60_000);
      const rest = again.frames.filter(({ type }) => type === 'change').flatMap(idsOf);
      expect(rest).toEqual(Array.from({ length: COMMITS - got.length }, (_, n) => got.length + 1 + n));
      await Promise.all([again.close(), quick.close()]);
    } finally {
      program.kill('SIGTERM');
      await program.ended;
    }
  }, 180_000);
});

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
