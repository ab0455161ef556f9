/** The main job, end to end: a row changes in PostgreSQL, and every subscriber hears of it, whatever happens. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { createMirror } from './harness/mirror.ts';
import { startServer } from './harness/server.ts';
import type { Frame, Socket } from './harness/socket.ts';

type TestServer = Awaited<ReturnType<typeof startServer>>;

describe('the main job', () => {
  let postgres: TestServer;
  let instance: Instance;

  beforeAll(async () => {
    postgres = await startServer();
    await postgres.query(`create table item (id int primary key, version int not null, filler text);
      select rowcast.watch('item', access => 'public')`);
    instance = await startInstance(postgres.url);
  });
  afterAll(async () => {
    await instance.stop();
    await postgres.dispose();
  });

  async function subscribed(topic: string): Promise<Socket> {
    const client = await instance.client();
    client.send({ type: 'subscribe', id: 'a', topic });
    await client.next('subscribed');
    return client;
  }

  async function reset(): Promise<void> {
    await postgres.query('truncate item');
  }

  it('shows a commit to a subscriber, as one frame, with cursor and time', async () => {
    await reset();
    const client = await subscribed('item');
    await postgres.query(`begin; insert into item values (1, 1); update item set version = 2; commit`);
    const frame = await client.next('change', (f) => (f['changes'] as unknown[]).length === 2);
    expect(frame).toMatchObject({
      topic: 'public.item',
      changes: [
        { op: 'insert', table: 'public.item', key: { id: 1 }, new: { id: 1, version: 1, filler: null } },
        { op: 'update', table: 'public.item', key: { id: 1 }, new: { version: 2 }, old: { version: 1 } },
      ],
    });
    expect(frame['at']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    expect(frame).not.toHaveProperty('more');
    await client.close();
  });

  it('shows a transaction whose constraints were fired in the middle as one', async () => {
    await reset();
    const client = await subscribed('item');
    await postgres.query(`begin; insert into item values (1, 1); set constraints all immediate;
      update item set version = 2; update item set version = 3; commit`);
    const frame = await client.next('change', (f) => (f['changes'] as { op: string }[])[0]?.op === 'insert');
    expect(frame).toMatchObject({
      changes: [{ op: 'insert' }, { new: { version: 2 } }, { new: { version: 3 } }],
    });
    await client.close();
  });

  it('streams a large commit in pages, in order, with a cursor for each', async () => {
    await reset();
    const client = await subscribed('item');
    await postgres.query(`insert into item select i, 1, repeat('x', 100) from generate_series(1, 20000) i`);
    const last = await client.next(
      'change',
      (f) => f['more'] !== true && (f['changes'] as unknown[]).length > 1,
      20_000,
    );
    const pages = client.frames.filter((f) => f.type === 'change' && f['at'] === last['at']);
    expect(pages.length).toBeGreaterThan(5);
    expect(pages.slice(0, -1).every((f) => f['more'] === true)).toBe(true);
    const ids = pages.flatMap((f) => (f['changes'] as { key: { id: number } }[]).map(({ key }) => key.id));
    expect(ids).toEqual(Array.from({ length: 20_000 }, (_, i) => i + 1));
    expect(new Set(pages.map((f) => f['cursor'])).size).toBe(pages.length);
    await client.close();
  });

  it('is unready with a reason while PostgreSQL is gone, keeps its clients, and catches up', async () => {
    await reset();
    const client = await subscribed('item');
    await postgres.stop('fast');
    const unready = await until(
      async () => {
        const response = await fetch(`${instance.http}/readyz`);
        return response.status === 503 && ((await response.json()) as { reason: string });
      },
      { what: 'readyz says 503' },
    );
    expect(unready.reason).toMatch(/listener is not connected/);
    // Why it is not back, when that is another reason than why it was lost.
    await until(
      async () =>
        JSON.stringify(await (await fetch(`${instance.http}/readyz`)).json()).includes('ECONNREFUSED'),
      { what: 'readyz says why it cannot be reached' },
    );
    expect((await fetch(`${instance.http}/healthz`)).status).toBe(200);
    await postgres.start();
    await postgres.query(`insert into item values (7, 1)`);
    await client.next('change', (f) => JSON.stringify(f['changes']).includes('"id":7'), 20_000);
    await until(async () => (await fetch(`${instance.http}/readyz`)).status === 200, {
      what: 'readyz says 200',
    });
    await client.close();
  });

  it('misses and doubles nothing in 20 seconds of four writers, with the listener terminated every second and PostgreSQL restarted twice', async () => {
    await reset();
    const client = await subscribed('item');
    const mirror = createMirror();
    let taken = client.frames.length;
    const end = performance.now() + 20_000;
    let written = 0;

    const writers = [0, 1, 2, 3].map((n) => write(postgres.url, n, () => performance.now() < end));
    const faults = (async () => {
      for (let second = 1; performance.now() < end; second++) {
        const due = end - 20_000 + second * 1000;
        await until(() => performance.now() > due, { what: 'the next second' });
        if (second === 6) await postgres.stop('fast').then(postgres.start);
        else if (second === 13) await postgres.stop('immediate').then(postgres.start);
        else await terminateListener();
      }
    })();
    for (const count of await Promise.all(writers)) written += count;
    await faults;

    const { rows } = await postgres.query<{ id: number; version: number }>(
      'select id, version from item order by id',
    );
    const wanted = JSON.stringify(rows);
    const got = () => {
      for (; taken < client.frames.length; taken++) {
        const frame = client.frames[taken] as Frame;
        if (frame.type === 'change') mirror.take(frame);
      }
      const mine = [...mirror.rows.values()].map(({ id, version }) => ({ id, version }));
      return JSON.stringify(mine.sort((a, b) => Number(a.id) - Number(b.id)));
    };
    await until(() => got() === wanted, { timeoutMs: 20_000, what: 'the mirror equals the table' });
    expect(written).toBeGreaterThan(500);
    // A commit whose answer was lost in a restart may have been made or not: never fewer than were answered.
    expect(mirror.commits).toBeGreaterThanOrEqual(written);
    await client.close();
  });

  async function terminateListener(): Promise<void> {
    await postgres.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rowcast listener'`,
    );
  }
});

/** Transactions of several statements, savepoints and rollbacks on shared rows; gives how many were committed. */
async function write(url: string, seed: number, goOn: () => boolean): Promise<number> {
  let committed = 0;
  let client: pg.Client | null = null;
  let step = seed;
  while (goOn()) {
    try {
      if (client === null) {
        client = new pg.Client({ connectionString: url });
        client.on('error', () => undefined);
        await client.connect();
      }
      const a = step % 40;
      const b = (step * 7 + seed) % 40;
      const upsert = (id: number) =>
        `insert into item values (${id}, 1) on conflict (id) do update set version = item.version + 1`;
      const [low, high] = a < b ? [a, b] : [b, a];
      await client.query(`begin; ${upsert(low)}; savepoint s; ${upsert(high)}`);
      if (step % 3 === 0) await client.query('rollback to s');
      if (step % 11 === 0) await client.query(`delete from item where id = ${high}`);
      if (step % 5 === 0) await client.query('rollback');
      else {
        await client.query('commit');
        committed++;
      }
    } catch {
      // Deadlocks, terminated sessions and restarts: again, on a new connection.
      await client?.end().catch(() => undefined);
      client = null;
    }
    step += 4;
  }
  await client?.end().catch(() => undefined);
  return committed;
}
