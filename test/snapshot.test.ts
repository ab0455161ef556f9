/** Snapshots, end to end: the rows of a moment, and then exactly what came after it. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createCatalog } from '../src/postgres/catalog.ts';
import { createRowReader } from '../src/postgres/rows.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { createMirror } from './harness/mirror.ts';
import { addressOf, startService } from './harness/program.ts';
import { connect, type Frame, type Socket } from './harness/socket.ts';

const COLUMNS: readonly (readonly [type: string, value: string])[] = [
  ['bigint', '9007199254740993'],
  ['numeric', '123456789012345678901234567890.123456789012345678901234567890'],
  ['numeric(10, 4)', '7'],
  ['numeric', `'NaN'`],
  ['real', '0.1::real + 0.2::real'],
  ['float8', '0.1::float8 + 0.2::float8'],
  ['float8', `'-Infinity'`],
  ['bytea', `'\\x00ff5c27'::bytea`],
  ['int[]', `'[5:6]={1,2}'`],
  ['text[]', `array['a "b"', null, '', E'\\n\\t\\\\', 'ü']`],
  ['json', `'{"b" : 1, "a":[1.00,  null], "b":2}'`],
  ['jsonb', `'{"b": 1.00, "a": "\\u00e9\\n"}'`],
  ['interval', `'1 year -2 months 3 days 04:05:06.789'`],
  ['timestamptz', `'2026-07-01 12:00:00.123456+02'`],
  ['timestamptz', `'infinity'`],
  ['timestamptz', `'0044-03-15 12:00:00+00 BC'`],
  ['timestamp', `timestamp '2026-07-01 12:00:00'`],
  ['date', `date '2026-12-31'`],
  ['timetz', `'23:59:59+05:30'`],
  ['tstzrange', `tstzrange('2026-01-01 00:00+00', '2026-02-01 00:00+05', '[)')`],
  ['int4multirange', `'{[1,3),[5,7)}'`],
  ['mood', `'so "so"'`],
  ['pair', `row(1, timestamptz '2026-01-01 00:00+03', '\\xff'::bytea)`],
  ['money', `'1234.5'::numeric::money`],
  ['uuid', `'00000000-0000-4000-8000-000000000001'`],
  ['inet', `'10.0.0.1/8'`],
  ['varbit', `b'1011'`],
  ['char(5)', `'ab'`],
  ['text', `E'tab\\t newline\\n quote" back\\\\ \\u2028 \\U0001F600 \\x01'`],
  ['regclass', `'public.kinds'`],
  ['boolean', 'true'],
  ['text', 'null'],
];
const BIG_ROWS = 100_000;

let database: Database;
let instance: Instance;
beforeAll(async () => {
  database = await createDatabase();
  await database.query(`
    create type mood as enum ('sad', 'so "so"');
    create type pair as (n int, at timestamptz, b bytea);
    create table kinds (id int primary key, ${COLUMNS.map(([type], n) => `c${n} ${type}`).join(', ')});
    create table sorted (id int primary key, a int, "Odd, Näme.desc" text);
    insert into sorted values (1, 2, 'x'), (2, null, 'y'), (3, 1, 'x'), (4, 2, null);
    create table empty (id int primary key);
    create table item (id int primary key, version int not null);
    create table other (id int primary key);
    create table big (id int primary key, version int not null, filler text);
    insert into big select i, 1, repeat('x', 200) from generate_series(1, ${BIG_ROWS}) i;
    select rowcast.watch(one::regclass, access => 'public')
      from unnest(array['kinds', 'sorted', 'empty', 'item', 'other', 'big']) one`);
  instance = await startInstance(database.url);
});
afterAll(async () => {
  await instance.stop();
  await database.drop();
});

/** A client that asked for a snapshot. */
async function asking(topic: string, snapshot: true | object = true): Promise<Socket> {
  const client = await instance.client();
  client.send({ type: 'subscribe', id: 'a', topic, snapshot });
  return client;
}

async function rowsOf(topic: string, snapshot: true | object = true): Promise<Record<string, unknown>[]> {
  const client = await asking(topic, snapshot);
  await client.next('live');
  await client.close();
  return snapshotsOf(client).flatMap((frame) => frame['rows'] as Record<string, unknown>[]);
}

const snapshotsOf = (client: Socket) => client.frames.filter(({ type }) => type === 'snapshot');
const typesOf = (client: Socket) => client.frames.map(({ type }) => type);

/** How many backends do the reading for snapshots, in which state. */
async function readers(where = `state <> 'idle'`): Promise<number> {
  const { rows } = await database.query<{ n: number }>(
    `select count(*)::int as n from pg_stat_activity
      where datname = current_database() and application_name = 'rowcast catch-up' and ${where}`,
  );
  return rows[0]?.n ?? 0;
}

describe('the rows', () => {
  it('are written as changes write them, to the byte', async () => {
    const client = await asking('kinds');
    await client.next('live');
    const writer = await database.client();
    await writer.query(`set timezone = 'Asia/Kathmandu'; set datestyle = 'German'; set bytea_output = 'escape';
      set intervalstyle = 'iso_8601'; set extra_float_digits = -5`);
    await writer.query(`insert into kinds values (1, ${COLUMNS.map(([, value]) => value).join(', ')})`);
    await writer.end();
    await client.next('change');
    const change = /"new":(\{.*\})\}\]\}$/s.exec(client.texts.at(-1) ?? '')?.[1];
    await client.close();
    const again = await asking('kinds');
    await again.next('snapshot');
    const text = again.texts.find((one) => one.startsWith('{"type":"snapshot"')) ?? '';
    expect(change).toMatch(/^\{"c0": 9007199254740993,.*"c31": null\}$/s);
    expect(/"rows":\[(.*)\],"cursor"/s.exec(text)?.[1]).toBe(change);
    await again.close();
  });

  it('come in the order that is asked for, as many as are asked for', async () => {
    const ids = async (order?: string, limit?: number) => {
      const rows = await rowsOf('sorted', { ...(order ? { order } : {}), ...(limit ? { limit } : {}) });
      return rows.map(({ id }) => id).join('');
    };
    const odd = encodeURIComponent('Odd, Näme.desc');
    expect(await ids()).toBe('1234');
    expect(await ids('id.desc')).toBe('4321');
    expect(await ids('id.desc', 2)).toBe('43');
    expect(await ids('a')).toBe('3142');
    expect(await ids('a.desc')).toBe('2143');
    expect(await ids('a.desc.nullslast,id.desc')).toBe('4132');
    expect(await ids('a.nullsfirst')).toBe('2314');
    expect(await ids(`${odd}.asc,a.desc`)).toBe('1324');
    expect(await ids(`${odd}.desc.nullslast,id.asc`, 3)).toBe('213');
  });

  it('are refused where they are asked for in vain, and nothing is left of it', async () => {
    const client = await instance.client();
    const refusals: readonly [object, string, RegExp][] = [
      [{ order: 'nothing' }, 'bad_frame', /"nothing" is no column of public.sorted/],
      [{ order: 'a.sideways' }, 'bad_frame', /"a.sideways" is no column/],
      [{ order: 'a;drop table sorted' }, 'bad_frame', /is no column/],
      [{ order: '%zz' }, 'bad_frame', /stray %/],
      [{ order: '' }, 'bad_frame', /order/],
      [{ order: Array(9).fill('a').join() }, 'bad_frame', /the limit is 8/],
      [{ limit: 1_000_001 }, 'limit_exceeded', /at most 1000000 rows/],
      [{ limit: 0 }, 'bad_frame', /limit/],
    ];
    for (const [snapshot, code, message] of refusals) {
      client.send({ type: 'subscribe', id: 'a', topic: 'sorted', snapshot });
      expect(await client.next('error')).toMatchObject({
        id: 'a',
        code,
        message: expect.stringMatching(message),
      });
    }
    client.send({ type: 'subscribe', id: 'a', topic: 'sorted' });
    await client.next('subscribed');
    await client.close();
  });

  it('of an empty table are one frame with a cursor', async () => {
    const client = await asking('empty');
    const live = await client.next('live');
    expect(typesOf(client)).toEqual(['welcome', 'subscribed', 'snapshot', 'live']);
    const [snapshot] = snapshotsOf(client);
    expect(snapshot).toEqual({
      type: 'snapshot',
      id: 'a',
      topic: 'public.empty',
      rows: [],
      cursor: expect.any(String),
    });
    expect(live).toMatchObject({ id: 'a', topic: 'public.empty', cursor: expect.any(String) });
    expect(client.frames[1]).not.toHaveProperty('cursor');
    await client.close();
  });

  it('come in pages, all but the last with more, and it with the cursor', async () => {
    const client = await asking('big', { limit: 2_345, order: 'id.desc' });
    await client.next('live');
    const pages = snapshotsOf(client);
    expect(pages.length).toBeGreaterThan(3);
    for (const [n, page] of pages.entries()) {
      const last = n === pages.length - 1;
      expect([page['more'], typeof page['cursor']]).toEqual(
        last ? [undefined, 'string'] : [true, 'undefined'],
      );
    }
    const ids = pages.flatMap((page) => (page['rows'] as { id: number }[]).map(({ id }) => id));
    expect(ids).toEqual(Array.from({ length: 2_345 }, (_, n) => BIG_ROWS - n));
    expect(typesOf(client).slice(-2)).toEqual(['snapshot', 'live']);
    await client.close();
  });
});

describe('the join', () => {
  it('has no gap and no double while three writers write as fast as they can', async () => {
    let writing = true;
    const writers = [0, 1, 2].map(async (n) => {
      const client = await database.client();
      for (let step = n; writing; step += 3) {
        const id = (step * 7) % 50;
        const upsert = `insert into item values (${id}, 1) on conflict (id) do update set version = item.version + 1`;
        await client.query(step % 5 === 0 ? `delete from item where id = ${id}` : upsert);
      }
      await client.end();
    });
    const clients: Socket[] = [];
    for (let n = 0; n < 20; n++) {
      const client = await asking('item');
      clients.push(client);
      if (n % 5 === 4) await client.next('live');
    }
    for (const client of clients) {
      if (!typesOf(client).includes('live')) await client.next('live');
    }
    writing = false;
    await Promise.all(writers);
    const { rows } = await database.query('select id, version from item order by id');
    for (const client of clients) {
      // The mirror throws at a version that is skipped or comes twice.
      const mirror = createMirror();
      let taken = 0;
      await until(
        () => {
          for (; taken < client.frames.length; taken++) {
            const frame = client.frames[taken] as Frame;
            if (frame.type === 'snapshot' || frame.type === 'change') mirror.take(frame);
          }
          const mine = [...mirror.rows.values()].sort((a, b) => Number(a['id']) - Number(b['id']));
          return JSON.stringify(mine) === JSON.stringify(rows);
        },
        { what: 'the mirror equals the table' },
      );
      const types = typesOf(client).filter((type) => type === 'snapshot' || type === 'live');
      expect(types).toEqual(['snapshot', 'live']);
      await client.close();
    }
  });

  it('has the rows of its moment where the table is truncated meanwhile', async () => {
    await database.query('truncate item; insert into item values (1, 1)');
    const [writer, truncating] = [await database.client(), await database.client()];
    const waiting = async (what: string) => {
      const { rows } = await database.query(
        `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ~ $1`,
        [what],
      );
      return rows.length === 1;
    };
    try {
      // The truncate waits for the update, and the snapshot for the truncate.
      await writer.query('begin; update item set version = 2');
      const truncated = truncating.query('truncate item');
      await until(() => waiting('^truncate'), { what: 'the truncate waits' });
      const socket = await instance.client();
      socket.send({ type: 'subscribe', id: 'a', topic: 'item', snapshot: true });
      await until(() => waiting('(lock table|from "public"."item")'), { what: 'the snapshot waits' });
      await writer.query('commit');
      await truncated;
      const { rows } = await socket.next('snapshot');
      await database.query('insert into item values (2, 1)');
      await socket.next('change', ({ changes }) => JSON.stringify(changes).includes('"insert"'));
      const changes = socket.frames.flatMap(({ changes: of = [] }) => of as { op: string; key?: unknown }[]);
      expect([rows, changes.map(({ op, key }) => [op, key])]).toEqual([[], [['insert', { id: 2 }]]]);
      await socket.close();
    } finally {
      await writer.end();
      await truncating.end();
    }
  });

  it('tells with live where it is, whatever came since the moment of the rows', async () => {
    let writing = true;
    const writer = (async () => {
      for (let id = 1_000; writing; id++) await database.query(`insert into item values (${id}, 1)`);
    })();
    // Until something was committed between the moment of the rows and live.
    let client: Socket;
    let live: Frame;
    for (;;) {
      client = await asking('item');
      live = await client.next('live');
      if (client.frames.indexOf(live) > typesOf(client).lastIndexOf('snapshot') + 1) break;
      await client.close();
    }
    writing = false;
    await writer;
    // What was there when live came, and what comes after its cursor, make up the table; the mirror throws at a double.
    const mirror = createMirror();
    const applied = (frames: readonly Frame[]) =>
      frames.filter(({ type }) => type === 'snapshot' || type === 'change');
    for (const frame of applied(client.frames.slice(0, client.frames.indexOf(live)))) mirror.take(frame);
    await client.close();
    const again = await instance.client();
    again.send({ type: 'subscribe', id: 'a', topic: 'item', since: live['cursor'] });
    const { rows } = await database.query<{ n: number }>('select count(*)::int as n from item');
    let taken = 0;
    await until(
      () => {
        const frames = applied(again.frames);
        for (; taken < frames.length; taken++) mirror.take(frames[taken] as Frame);
        return mirror.rows.size === rows[0]?.n;
      },
      { what: 'the mirror equals the table' },
    );
    await again.close();
  });

  it('may not be asked for a topic that the connection has already', async () => {
    const client = await asking('empty');
    await client.next('live');
    client.send({ type: 'subscribe', id: 'b', topic: 'public.empty', snapshot: true });
    expect(await client.next('error')).toMatchObject({ id: 'b', code: 'duplicate_id' });
    client.send({ type: 'unsubscribe', id: 'a' });
    await client.next('unsubscribed');
    client.send({ type: 'subscribe', id: 'b', topic: 'empty', snapshot: true });
    expect(await client.next('live')).toMatchObject({ id: 'b' });
    await client.close();
  });
});

describe('a large snapshot', () => {
  it('makes nobody wait, and is not held in memory', async () => {
    const program = startService(database.url, {
      NODE_OPTIONS: '--max-semi-space-size=2',
    });
    try {
      const url = `${(await addressOf(program)).replace('http', 'ws')}/ws`;
      const [first, large, other] = [await connect(url), await connect(url), await connect(url)];
      const whole = { type: 'subscribe', id: 'a', topic: 'big', snapshot: true };
      // A process grows to its working size with the first one.
      first.send(whole);
      await first.next('live', undefined, 30_000);
      other.send({ type: 'subscribe', id: 'o', topic: 'other' });
      await other.next('subscribed');
      const before = await residentBytes(program.pid);
      let most = before;
      let meanwhile = 0;
      const done = () => typesOf(large).includes('live');
      large.send(whole);
      await large.next('snapshot');
      for (let id = 1; !done(); id++) {
        await database.query(`insert into other values (${id})`);
        await other.next('change', (f) => JSON.stringify(f['changes']).includes(`{"id":${id}}`));
        if (!done()) meanwhile++;
        most = Math.max(most, await residentBytes(program.pid));
      }
      expect(meanwhile).toBeGreaterThan(5);
      const sizes = snapshotsOf(large).map((page) => (page['rows'] as unknown[]).length);
      expect(sizes.reduce((sum, n) => sum + n, 0)).toBe(BIG_ROWS);
      // As text the rows take 24 MB, and several times that where all are held as what pg makes of them.
      expect(most - before).toBeLessThan(60_000_000);
      for (const client of [first, large, other]) await client.close();
    } finally {
      program.kill('SIGTERM');
      await program.ended;
    }
  });

  it('ends with its subscription, and frees its connection', async () => {
    const client = await asking('big');
    await client.next('snapshot');
    client.pause();
    await until(async () => (await readers()) === 1, { what: 'it is being read' });
    client.send({ type: 'unsubscribe', id: 'a' });
    await until(async () => (await readers()) === 0, { what: 'nothing is read' });
    client.resume();
    await client.next('unsubscribed');
    expect(typesOf(client).at(-1)).toBe('unsubscribed');
    expect(typesOf(client)).not.toContain('live');
    client.send({ type: 'subscribe', id: 'a', topic: 'empty', snapshot: true });
    await client.next('live');
    await client.close();
  });

  it('ends with its connection', async () => {
    const client = await asking('big');
    await client.next('snapshot');
    client.pause();
    await until(async () => (await readers()) === 1, { what: 'it is being read' });
    client.terminate();
    await until(async () => (await readers()) === 0, { what: 'nothing is read' });
  });
});

describe('a snapshot that takes too long', () => {
  it('is broken off by the database', async () => {
    const pool = new pg.Pool({ connectionString: database.url });
    const table = await createCatalog({ pool, observe: () => {} }).find('public', 'item');
    if (table === undefined) throw new Error('not watched');
    const locker = await database.client();
    await locker.query('begin; lock table item in access exclusive mode');
    const reader = createRowReader(pool, 100);
    const read = reader.read({ table, filters: [], order: [], limit: 10 }, async () => {});
    await expect(read).rejects.toMatchObject({ code: '57014' });
    await locker.end();
    await pool.end();
  });

  it('is an error that says what to do, and so is a lost connection', async () => {
    for (const [end, message] of [
      ['pg_cancel_backend', /longer than it may; add filters, a limit, or an index/],
      ['pg_terminate_backend', /cannot be read now; try again/],
    ] as const) {
      const locker = await database.client();
      await locker.query('begin; lock table item in access exclusive mode');
      const client = await asking('item');
      await until(async () => (await readers(`wait_event_type = 'Lock'`)) === 1, { what: 'it waits' });
      await database.query(
        `select ${end}(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      const error = await client.next('error');
      expect(error).toMatchObject({ id: 'a', code: 'unavailable', message: expect.stringMatching(message) });
      await locker.end();
      client.send({ type: 'subscribe', id: 'a', topic: 'item', snapshot: true });
      await client.next('live');
      await client.close();
    }
  });
});

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
