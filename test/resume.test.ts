/** Resumes, end to end: exactly what came after a cursor, each once, wherever the client lands. */
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { readCursor, spellCursor } from '../src/position/cursor.ts';
import { withCommit } from '../src/position.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, NEVER_MUTING, startInstance } from './harness/instance.ts';
import { addressOf, startService } from './harness/program.ts';
import { connect, type Frame, type Socket } from './harness/socket.ts';

type Where = 'the same instance' | 'another instance' | 'one whose ring does not reach back';

let database: Database;
let instances: Record<Where, Instance>;
beforeAll(async () => {
  database = await createDatabase();
  await database.query(`create table item (id int primary key, filler text);
    select rowcast.watch('item', access => 'public')`);
  const start = (env = {}) =>
    startInstance(database.url, { ROWCAST_HEARTBEAT_MS: '200', ...env }, NEVER_MUTING);
  instances = {
    'the same instance': await start(),
    'another instance': await start(),
    'one whose ring does not reach back': await start({ ROWCAST_RING_BYTES: '64KiB' }),
  };
  // Other databases of the server go on meanwhile: from here on each has a snapshot from after they were all there.
  await insert(0);
  for (const { observed } of Object.values(instances)) await observed.next('feed.commit');
  await quiet();
});
afterAll(async () => {
  for (const instance of Object.values(instances)) await instance.stop();
  await database.drop();
});

const here = () => instances['the same instance'];
const behind = () => instances['one whose ring does not reach back'];

/** What a test that failed left open must not take the frames of the next. */
const opened: Socket[] = [];
afterEach(() => {
  for (const client of opened.splice(0)) client.terminate();
});

async function clientOf(instance: Instance): Promise<Socket> {
  const client = await instance.client();
  opened.push(client);
  return client;
}

async function resuming(instance: Instance, since: string, topic = 'item'): Promise<Socket> {
  const client = await clientOf(instance);
  client.send({ type: 'subscribe', id: 'a', topic, since });
  return client;
}

async function subscribed(instance: Instance): Promise<{ client: Socket; cursor: string }> {
  const client = await clientOf(instance);
  client.send({ type: 'subscribe', id: 'a', topic: 'item' });
  return { client, cursor: cursorOf(await client.next('subscribed')) };
}

const cursorOf = (frame: Frame) => String(frame['cursor']);
const idsIn = (frame: Frame) => (frame['changes'] as { key: { id: number } }[]).map(({ key }) => key.id);
const idsOf = (client: Socket) => client.frames.filter(({ type }) => type === 'change').flatMap(idsIn);
const has = (id: number) => (frame: Frame) => idsIn(frame).includes(id);
/** Ids in short, `1-3 7`: thousands are compared. */
function spans(ids: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const id of ids) {
    const last = runs.at(-1);
    if (last?.[1] === id - 1) last[1] = id;
    else runs.push([id, id]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(' ');
}
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);
const insert = (from: number, to = from, chars = 10) =>
  database.query(`insert into item select i, repeat('x', ${chars}) from generate_series(${from}, ${to}) i`);

/** When each backend of the instances that serves clients was asked something last. */
async function lastQueries(): Promise<unknown> {
  const { rows } = await database.query(
    `select pid, query_start::text from pg_stat_activity where datname = current_database()
      and application_name in ('rowcast', 'rowcast catch-up') order by pid`,
  );
  return rows;
}

/** All is folded into snapshots: nothing is asked by itself any more. */
async function quiet(): Promise<void> {
  const { rows } = await database.query<{ xid: string }>(
    'select max(xid::text::bigint)::text as xid from rowcast.log',
  );
  const last = BigInt(rows[0]?.xid ?? 0);
  for (const { observed } of Object.values(instances)) {
    await until(
      () => {
        const heard = observed.all.findLastIndex((o) => o.type === 'feed.commit' && o.xid === last);
        return heard >= 0 && observed.all.findLastIndex((o) => o.type === 'feed.read') > heard;
      },
      { what: 'the last commit is confirmed' },
    );
  }
}

describe('a resume', () => {
  const cursors: Record<string, { cursor: string; after: number[] }> = {};
  let further = 0;
  const LARGE = range(1_000, 20_999);

  beforeAll(async () => {
    const { client, cursor } = await subscribed(here());
    await insert(1);
    const change = cursorOf(await client.next('change', has(1)));
    await insert(2);
    await client.next('change', has(2));
    const mark = client.frames.length;
    const beat = await client.next('cursor', (frame) => client.frames.indexOf(frame) >= mark);
    const other = await here().client();
    other.send({ type: 'subscribe', id: 'a', topic: 'item', snapshot: { limit: 1 } });
    const live = cursorOf(await other.next('live'));
    const snapshot = cursorOf(await other.next('snapshot'));
    await insert(3);
    await insert(1_000, 20_999, 100);
    await insert(4);
    await client.next('change', has(4), 20_000);
    const pages = client.frames.filter((frame) => frame['more'] === true);
    expect(pages.length).toBeGreaterThan(5);
    const afterPages = (n: number) => LARGE.slice(pages.slice(0, n).flatMap(idsIn).length);
    const cursorsOfPages = (n: number) => cursorOf(pages[n - 1] ?? { type: '' });
    Object.assign(cursors, {
      subscribed: { cursor, after: [1, 2, 3, ...LARGE, 4] },
      change: { cursor: change, after: [2, 3, ...LARGE, 4] },
      heartbeat: { cursor: cursorOf(beat), after: [3, ...LARGE, 4] },
      snapshot: { cursor: snapshot, after: [3, ...LARGE, 4] },
      live: { cursor: live, after: [3, ...LARGE, 4] },
      'first page': { cursor: cursorsOfPages(1), after: [...afterPages(1), 4] },
      'second page': { cursor: cursorsOfPages(2), after: [...afterPages(2), 4] },
      'last page but one': { cursor: cursorsOfPages(pages.length), after: [...afterPages(pages.length), 4] },
    });
    await Promise.all([client.close(), other.close()]);
  });

  const kinds = [
    'subscribed',
    'change',
    'heartbeat',
    'snapshot',
    'live',
    'first page',
    'second page',
    'last page but one',
  ];
  const places: Where[] = ['the same instance', 'another instance', 'one whose ring does not reach back'];
  it.each(places.flatMap((place) => kinds.map((kind) => [kind, place] as const)))(
    'from the cursor of %s, on %s',
    async (kind, place) => {
      const { cursor = '', after = [] } = cursors[kind] ?? {};
      const seen = instances[place].observed.since();
      const client = await resuming(instances[place], cursor);
      const live = await client.next('live', undefined, 20_000);
      expect(await client.next('subscribed')).toEqual({
        type: 'subscribed',
        id: 'a',
        topic: 'public.item',
        cursor,
      });
      expect(spans(idsOf(client))).toBe(spans(after));
      expect(client.frames.filter(({ type }) => type !== 'cursor').at(-1)).toBe(live);
      const source = place === 'one whose ring does not reach back' ? 'log' : 'ring';
      expect(await seen.next('subscription.resumed')).toMatchObject({ source });
      // It goes on.
      const id = 21_000 + ++further;
      await insert(id);
      await client.next('change', has(id));
      for (const one of Object.values(cursors)) one.after.push(id);
      expect(spans(idsOf(client))).toBe(spans(after));
      await client.close();
    },
  );

  it('in the middle of a large commit takes nothing from those who share its read', async () => {
    // The first is being read for while the others come, and wait together.
    const sharing = ['subscribed', 'second page', 'subscribed', 'last page but one', 'change'];
    const clients = await Promise.all(sharing.map(() => behind().client()));
    for (const [n, kind] of sharing.entries()) {
      clients[n]?.send({ type: 'subscribe', id: 'a', topic: 'item', since: cursors[kind]?.cursor });
    }
    for (const [n, client] of clients.entries()) {
      await client.next('live', undefined, 20_000);
      expect(spans(idsOf(client))).toBe(spans(cursors[sharing[n] ?? '']?.after ?? []));
      await client.close();
    }
  });

  it('in the middle of a large commit goes on in the middle, again and again', async () => {
    for (const place of places) {
      let { cursor = '', after = [] } = cursors['change'] ?? {};
      after = [...after];
      for (let round = 0; after.length > 0 && round < 30; round++) {
        const client = await resuming(instances[place], cursor);
        await client.next('change');
        await until(() => client.frames.filter(({ type }) => type === 'change').length > 1, {
          what: 'two frames',
        });
        const [first, second] = client.frames.filter(({ type }) => type === 'change');
        client.terminate();
        for (const frame of [first, second]) {
          if (frame === undefined) continue;
          const ids = idsIn(frame);
          expect(spans(ids)).toBe(spans(after.splice(0, ids.length)));
          cursor = cursorOf(frame);
        }
        if (after.length < 5) break;
      }
      expect(after.length).toBeLessThan(19_000);
    }
  });
});

describe('a resume from the ring', () => {
  it('asks the database nothing', async () => {
    const { client, cursor } = await subscribed(here());
    for (let id = 30_000; id < 30_100; id++) await insert(id);
    await client.next('change', has(30_099));
    await quiet();
    const before = await lastQueries();
    const clients = await Promise.all(range(1, 50).map(() => resuming(here(), cursor)));
    for (const one of clients) {
      await one.next('live');
      expect(spans(idsOf(one))).toBe(spans(range(30_000, 30_099)));
    }
    expect(await lastQueries()).toEqual(before);
    await Promise.all([client, ...clients].map((one) => one.close()));
  });

  it('serves who comes to an instance that has just started, and tells nothing of it to others', async () => {
    const { client, cursor } = await subscribed(here());
    const open = await database.client();
    let fresh: Instance | undefined;
    try {
      await open.query('begin');
      await open.query('insert into item values (60001)');
      await insert(60_002);
      await insert(60_003);
      await client.next('change', has(60_003));

      fresh = await startInstance(database.url, {}, NEVER_MUTING);
      expect(fresh.observed.all.some(({ type }) => type === 'feed.commit')).toBe(false);
      await open.query('commit');
      const seen = fresh.observed.since();
      const resumed = await resuming(fresh, cursor);
      await resumed.next('live');
      expect(await seen.next('subscription.resumed')).toMatchObject({ source: 'ring' });
      await insert(60_004);
      await resumed.next('change', has(60_004));
      expect(idsOf(resumed).sort()).toEqual([60_001, 60_002, 60_003, 60_004]);
    } finally {
      await open.end();
      await fresh?.stop();
    }
  });
});

describe('a resume from the log', () => {
  it('is one read for many clients', async () => {
    const { client, cursor } = await subscribed(behind());
    for (let id = 40_000; id < 40_050; id++) await insert(id, id, 5_000);
    await client.next('change', has(40_049));
    await quiet();
    const before = await transactions();
    const clients = await Promise.all(range(1, 200).map(() => resuming(behind(), cursor)));
    for (const one of clients) {
      await one.next('live', undefined, 30_000);
      expect(spans(idsOf(one))).toBe(spans(range(40_000, 40_049)));
    }
    // One read looks into an index of every slot of the log, twice.
    expect((await transactions()) - before).toBeLessThan(100);
    await Promise.all([client, ...clients].map((one) => one.close()));
  }, 90_000);

  /** How many there were of those who replay. Backends tell when they end. */
  async function transactions(): Promise<number> {
    await database.query(
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where datname = current_database() and application_name = 'rowcast catch-up'`,
    );
    const { rows } = await database.query<{ n: number }>(
      `select (select sum(idx_scan) from pg_stat_all_indexes where schemaname = 'rowcast' and relname like 'log\\_%')::int as n`,
    );
    return rows[0]?.n ?? 0;
  }

  it('goes at the pace of its client, and is not held in memory', async () => {
    const program = startService(database.url, {
      ROWCAST_RING_BYTES: '64KiB',
      NODE_OPTIONS: '--max-semi-space-size=2',
    });
    try {
      const url = `${(await addressOf(program)).replace('http', 'ws')}/ws`;
      const { client, cursor } = await subscribed(here());
      // 80 MB, a quarter of it in one commit.
      await insert(50_000, 50_199, 100_000);
      for (let id = 50_200; id < 50_800; id += 4) await insert(id, id + 3, 100_000);
      await client.close();
      const slow = await connect(url);
      const before = await residentBytes(program.pid);
      slow.send({ type: 'subscribe', id: 'a', topic: 'item', since: cursor });
      await slow.next('change');
      let most = 0;
      for (let round = 0; round < 10; round++) {
        slow.pause();
        const due = performance.now() + 100;
        await until(() => performance.now() > due, { what: 'a while without reading' });
        most = Math.max(most, await residentBytes(program.pid));
        slow.resume();
        const seen = slow.frames.length;
        await until(() => slow.frames.length > seen, { what: 'more' });
      }
      await slow.next('live', undefined, 60_000);
      expect(spans(idsOf(slow))).toBe(spans(range(50_000, 50_799)));
      expect(most - before).toBeLessThan(50_000_000);
      await slow.close();
    } finally {
      program.kill('SIGTERM');
      await program.ended;
    }
  }, 120_000);
});

describe('a resume with one part of a transaction', () => {
  it('gets the rest alone, and who comes with it gets all', async () => {
    const { client, cursor } = await subscribed(here());
    const writer = await database.client();
    const { rows } = await writer
      .query<{ xid: string }>('begin')
      .then(() =>
        writer.query('insert into item values (62001) returning pg_current_xact_id()::text as xid'),
      );
    await writer.query('set constraints all immediate');
    await writer.query('insert into item values (62002)');
    await writer.query('commit');
    await writer.end();
    await client.next('change', has(62_002));
    // As who was told of the first part before the second was there.
    const { stream, position } = readCursor(cursor);
    const torn = spellCursor(stream, withCommit(position, BigInt(rows[0]?.xid ?? 0)));

    for (const instance of Object.values(instances)) {
      const seen = instance.observed.since();
      // The first is being read for while the others come, and wait together.
      const comers = await Promise.all([torn, torn, torn, cursor].map((since) => resuming(instance, since)));
      await Promise.all(comers.map((one) => one.next('live')));
      const rest = [62_002];
      expect(comers.map(idsOf)).toEqual([rest, rest, rest, [62_001, 62_002]]);
      expect(seen.all).toContainEqual(
        expect.objectContaining({ type: 'subscription.resumed', source: 'log' }),
      );
    }
  });
});

describe('a reset', () => {
  it('answers a cursor of another database', async () => {
    const elsewhere = await createDatabase();
    const stranger = await startInstance(elsewhere.url);
    const visitor = await stranger.client();
    visitor.send({ type: 'ping' });
    const cursor = cursorOf(await visitor.next('pong'));
    await visitor.close();
    await stranger.stop();
    await elsewhere.drop();
    const client = await resuming(here(), cursor);
    expect(await client.next('reset')).toMatchObject({
      id: 'a',
      topic: 'public.item',
      reason: 'stream_changed',
    });
    await goesOn(client, 60_000);
    await client.close();
  });

  it('answers a cursor from before its table was watched', async () => {
    const { client: old, cursor } = await subscribed(here());
    await old.close();
    await database.query(`create table late (id int primary key); insert into late values (1);
      select rowcast.watch('late', access => 'public')`);
    const client = await until(
      async () => {
        const one = await resuming(here(), cursor, 'late');
        await one.next('reset');
        return one;
      },
      { what: 'the table is known' },
    );
    expect(client.frames.at(-1)).toMatchObject({ type: 'reset', reason: 'cursor_expired' });
    await client.close();
  });

  it('answers a cursor that the log does not reach back to, and a transaction open since is no such', async () => {
    const { client: old, cursor } = await subscribed(behind());
    const long = await database.client();
    await long.query('begin; select pg_current_xact_id()');
    await insert(70_001, 70_020, 10_000);
    const since = cursorOf(await old.next('change', has(70_020)));
    await old.close();
    for (let n = 0; n < 3; n++) {
      await database.query(`select rowcast.prune('0')`);
      await insert(70_100 + n);
    }
    const client = await resuming(behind(), cursor);
    const reset = await client.next('reset');
    expect(reset).toMatchObject({ id: 'a', topic: 'public.item', reason: 'cursor_expired' });
    expect(spans(idsOf(client))).toBe(spans([]));
    await goesOn(client, 70_200);
    const again = await resuming(behind(), cursorOf(reset));
    await again.next('live');
    expect(spans(idsOf(again))).toBe(spans([70_200]));
    // What is open was not pruned: nobody is reset for it.
    await long.query('insert into item values (70000); commit');
    await again.next('change', has(70_000));
    expect(again.frames.some(({ type }) => type === 'reset')).toBe(false);
    expect(since).not.toBe(cursor);
    await long.end();
    await Promise.all([client.close(), again.close()]);
  });

  async function goesOn(client: Socket, id: number): Promise<void> {
    await insert(id);
    await client.next('change', has(id));
    expect(client.frames.some(({ type }) => type === 'live')).toBe(false);
  }
});

describe('a cursor that is none', () => {
  it('is an error, and leaves nothing behind', async () => {
    const client = await here().client();
    for (const since of ['garbage', 'a.b.c', '1.1_1_1_.0-zzzzzz', '🙂']) {
      client.send({ type: 'subscribe', id: 'a', topic: 'item', since });
      expect(await client.next('error')).toMatchObject({ id: 'a', code: 'bad_cursor' });
    }
    client.send({ type: 'subscribe', id: 'a', topic: 'item' });
    await client.next('subscribed');
    await client.close();
  });
});

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
