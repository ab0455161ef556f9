/** Who may see what of a table, by its access and by the token: topics, snapshots, replays, and when either changes. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { JWTPayload } from 'jose';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { connect, type Frame, type Socket } from './harness/socket.ts';
import { withClient } from './harness/suite.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

let database: Database;
let instance: Instance;

beforeAll(async () => {
  database = await createDatabase();
  await database.query(`
    create table open (id int primary key, note text);
    create table members (id int primary key, note text);
    create table orders (id int primary key, customer_id int not null, status text, secret text default 'hidden');
    create table shared (id int primary key, team text, region text)`);
  instance = await startInstance(database.url, { ROWCAST_JWT_SECRET: SECRET });
});
afterAll(async () => {
  await instance.stop();
  await database.drop();
});
beforeEach(async () => {
  const heard = instance.observed.since();
  const begun = await commit(`
    truncate open, members, orders, shared;
    select rowcast.watch('open', access => 'public'), rowcast.watch('members'),
           rowcast.watch('orders', columns => '{id,customer_id,status}', access => 'scoped', scope => '{"customer_id":"customer"}'),
           rowcast.watch('shared', access => 'scoped', scope => '{"team":"teams","region":"region"}')`);
  await heard.next('feed.commit', ({ xid }) => xid === begun);
});

/** Commits one transaction; gives its id. */
async function commit(sql: string): Promise<bigint> {
  return withClient(database.url, async (client) => {
    await client.query('begin');
    await client.query(sql);
    const { rows } = await client.query<{ id: string }>('select pg_current_xact_id()::text as id');
    await client.query('commit');
    return BigInt(rows[0]?.id ?? '');
  });
}

/** A client with a token of these claims; without any, without a token. */
async function client(claims?: JWTPayload): Promise<Socket> {
  if (claims === undefined) return instance.client();
  const headers = { authorization: `Bearer ${await tokenOf({ sub: 'anna', ...claims })}` };
  const socket = await connect(instance.url, { headers });
  await socket.next('welcome');
  return socket;
}

async function subscribe(socket: Socket, topic: string, more: object = {}): Promise<Frame> {
  const before = socket.frames.length;
  socket.send({ type: 'subscribe', id: topic, topic, ...more });
  const isAnswer = ({ type, id }: Frame) => id === topic && (type === 'subscribed' || type === 'error');
  return until(() => socket.frames.slice(before).find(isAnswer), { what: `an answer about ${topic}` });
}

const unknown = (name: string) =>
  `there is no table public.${name} here: it does not exist, is not watched, or is not for this client`;

describe('who may see what', () => {
  const NOBODY = undefined;
  const USER: JWTPayload = {};
  const CUSTOMER: JWTPayload = { customer: 7, teams: ['a', 'b'], region: 'eu' };
  it.each<[table: string, who: string, claims: JWTPayload | undefined, topic: string | null]>([
    ['open', 'no token', NOBODY, 'public.open'],
    ['open', 'a token', USER, 'public.open'],
    ['open', 'the claims of the scope', CUSTOMER, 'public.open'],
    ['members', 'no token', NOBODY, null],
    ['members', 'a token', USER, 'public.members'],
    ['members', 'the claims of the scope', CUSTOMER, 'public.members'],
    ['orders', 'no token', NOBODY, null],
    ['orders', 'a token', USER, null],
    ['orders', 'the claims of the scope', CUSTOMER, 'public.orders?customer_id=eq.7'],
    ['shared', 'some claims of the scope', { teams: ['a'] }, null],
    [
      'shared',
      'a claim of one value in a list',
      { teams: ['a'], region: 'eu' },
      'public.shared?region=eq.eu&team=eq.a',
    ],
    ['shared', 'a claim of several values', CUSTOMER, 'public.shared?region=eq.eu&team=in.(a,b)'],
    ['shared', 'a claim of no value', { teams: [], region: 'eu' }, null],
    ['shared', 'a claim that is no value', { teams: { a: 1 }, region: 'eu' }, null],
    ['orders', 'a claim that its column cannot hold', { customer: 'x' }, null],
  ])('of %s by %s', async (table, _, claims, topic) => {
    const socket = await client(claims);
    const answer = await subscribe(socket, table);
    if (topic !== null) expect(answer).toMatchObject({ type: 'subscribed', topic });
    else expect(answer).toMatchObject({ type: 'error', code: 'bad_topic', message: unknown(table) });
    const snapshot = await subscribe(socket, `${table}:insert`, { snapshot: true });
    expect(snapshot.type).toBe(answer.type);
    await socket.close();
  });

  it('of what is not there, as of what is not for the client', async () => {
    const socket = await client(USER);
    expect(await subscribe(socket, 'nowhere')).toMatchObject({
      code: 'bad_topic',
      message: unknown('nowhere'),
    });
    await socket.close();
  });

  it('of columns: those that are published, in rows, filters and orders', async () => {
    const socket = await client(CUSTOMER);
    const about = async (column: string) =>
      JSON.stringify([
        await subscribe(socket, `orders?${column}=eq.hidden`),
        await subscribe(socket, 'orders', { snapshot: { order: column } }),
      ]).replaceAll(column, 'COLUMN');
    expect(await about('secret')).toEqual(await about('nonsense'));
    await database.query(`insert into orders values (1, 7, 'new')`);
    await subscribe(socket, 'orders:update', { snapshot: true });
    expect((await socket.next('snapshot'))['rows']).toEqual([{ id: 1, customer_id: 7, status: 'new' }]);
    await database.query(
      `update orders set secret = 'changed'; update orders set status = 'paid', secret = 'again'`,
    );
    expect((await socket.next('change'))['changes']).toEqual([
      {
        op: 'update',
        table: 'public.orders',
        key: { id: 1 },
        new: { id: 1, customer_id: 7, status: 'paid' },
        old: { status: 'new' },
        effect: 'stay',
      },
    ]);
    await socket.close();
  });
});

describe('a scope', () => {
  it('holds for snapshots, changes and replays, whatever filters the client has', async () => {
    const socket = await client({ customer: 7 });
    await database.query(`insert into orders values (1, 7, 'new'), (2, 8, 'new')`);
    await subscribe(socket, 'orders', { snapshot: true });
    const { rows, cursor } = await socket.next('snapshot');
    expect(rows).toEqual([{ id: 1, customer_id: 7, status: 'new' }]);
    await socket.next('live');
    expect(await subscribe(socket, 'orders?customer_id=eq.8')).toMatchObject({
      topic: 'public.orders?customer_id=eq.7&customer_id=eq.8',
    });
    await database.query(`insert into orders values (3, 8, 'new'); insert into orders values (4, 7, 'new')`);
    expect(await socket.next('change')).toMatchObject({
      topic: 'public.orders?customer_id=eq.7',
      changes: [{ key: { id: 4 }, effect: 'enter' }],
    });
    const again = await client({ customer: 7 });
    await subscribe(again, 'orders', { since: cursor });
    await again.next('live');
    const replayed = again.frames.filter(({ type }) => type === 'change').flatMap(({ changes }) => changes);
    expect(replayed).toMatchObject([{ key: { id: 4 } }]);
    for (const one of [socket, again]) await one.close();
  });

  it('has a row leave its old owner with the key alone, and enter the new one', async () => {
    const [seven, eight] = [await client({ customer: 7 }), await client({ customer: 8 })];
    for (const socket of [seven, eight]) await subscribe(socket, 'orders');
    await database.query(`insert into orders values (1, 7, 'new')`);
    await seven.next('change');
    await database.query(`update orders set customer_id = 8, status = 'moved'`);
    const base = { op: 'update', table: 'public.orders', key: { id: 1 } };
    expect((await seven.next('change'))['changes']).toEqual([{ ...base, effect: 'leave' }]);
    expect((await eight.next('change'))['changes']).toEqual([
      {
        ...base,
        new: { id: 1, customer_id: 8, status: 'moved' },
        old: { customer_id: 7, status: 'new' },
        effect: 'enter',
      },
    ]);
    await database.query('delete from orders');
    expect((await eight.next('change'))['changes']).toEqual([
      { op: 'delete', table: 'public.orders', key: { id: 1 }, effect: 'leave' },
    ]);
    await database.query('insert into orders values (2, 7, null)');
    await seven.next('change');
    expect(JSON.stringify(seven.frames)).not.toMatch(/moved|"id":1,"customer_id":8/);
    for (const socket of [seven, eight]) await socket.close();
  });
});

describe('watch called again', () => {
  it('ends what it forbids at once, and leaves the rest', async () => {
    const [nobody, anna, other] = [
      await client(),
      await client({ customer: 7 }),
      await client({ customer: 8 }),
    ];
    for (const socket of [nobody, anna, other]) await subscribe(socket, 'open');
    await database.query(`select rowcast.watch('open')`);
    expect(await nobody.next('error')).toMatchObject({
      id: 'open',
      code: 'bad_topic',
      message: unknown('open'),
    });
    await database.query(`insert into open values (1, 'for users')`);
    for (const socket of [anna, other]) await socket.next('change');
    await database.query(`select rowcast.watch('open', access => 'scoped', scope => '{"id":"customer"}')`);
    // Both had all of it: what they may have now is another topic.
    for (const socket of [anna, other])
      expect(await socket.next('error')).toMatchObject({ id: 'open', code: 'bad_topic' });
    expect(await subscribe(anna, 'open')).toMatchObject({ topic: 'public.open?id=eq.7' });
    await database.query(
      `insert into open values (6, 'for others'); insert into open values (7, 'for anna')`,
    );
    const idsOf = ({ frames }: Socket) =>
      frames.flatMap(({ changes = [] }) => (changes as { key: { id: number } }[]).map(({ key }) => key.id));
    await anna.next('change', ({ topic }) => topic === 'public.open?id=eq.7');
    expect(idsOf(anna)).toEqual([1, 7]);
    const heard = instance.observed.since();
    await database.query(`select rowcast.watch('open', access => 'public')`);
    await heard.next('catalog.loaded');
    expect(await subscribe(nobody, 'open')).toMatchObject({ type: 'subscribed' });
    await database.query(`insert into open values (8, 'for all')`);
    await nobody.next('change');
    expect(idsOf(nobody)).toEqual([8]);
    for (const socket of [nobody, anna, other]) await socket.close();
  });

  it('shows nobody what is committed after it forbids it, however soon', async () => {
    const inAll: unknown[] = [];
    for (let round = 0; round < 5; round++) {
      const [nobody, anna] = [await client(), await client({})];
      for (const socket of [nobody, anna]) await subscribe(socket, 'open');
      const writer = await database.client();
      await writer.query(`select rowcast.watch('open')`);
      for (let n = 0; n < 5; n++) await writer.query('insert into open values ($1)', [round * 5 + n]);
      await nobody.next('error');
      await writer.query(`select rowcast.watch('open', access => 'public')`);
      await writer.end();
      await anna.next('change', ({ changes }) => JSON.stringify(changes).includes(`"id":${round * 5 + 4}`));
      inAll.push(...nobody.frames.filter(({ type }) => type === 'change'));
      for (const socket of [nobody, anna]) await socket.close();
    }
    expect(inAll).toEqual([]);
  });

  it('gives nobody a column that it took away, of however long ago', async () => {
    const first = await client({ customer: 7 });
    const { cursor } = await subscribe(first, 'orders');
    await database.query(`insert into orders values (1, 7, 'PRIVATE')`);
    await first.next('change');
    const forgetful = await startInstance(database.url, {
      ROWCAST_JWT_SECRET: SECRET,
      ROWCAST_RING_BYTES: '64KiB',
    });
    const heard = [instance, forgetful].map(({ observed }) => observed.since());
    const xid = await commit(
      `select rowcast.watch('orders', columns => '{id,customer_id}', access => 'scoped', scope => '{"customer_id":"customer"}')`,
    );
    for (const observed of heard) await observed.next('feed.commit', (seen) => seen.xid === xid);
    const headers = { authorization: `Bearer ${await tokenOf({ sub: 'anna', customer: 7 })}` };
    for (const url of [instance.url, forgetful.url]) {
      const socket = await connect(url, { headers });
      await subscribe(socket, 'orders', { since: cursor });
      expect(await socket.next('reset')).toMatchObject({ reason: 'cursor_expired' });
      expect(socket.texts.join()).not.toContain('PRIVATE');
      await socket.close();
    }
    await first.close();
    await forgetful.stop();
  });

  it('ends a subscription with a filter on a column that is published no more', async () => {
    const anna = await client({ customer: 7 });
    await subscribe(anna, 'orders?status=eq.new');
    await subscribe(anna, 'orders');
    await database.query(
      `select rowcast.watch('orders', columns => '{id,customer_id}', access => 'scoped', scope => '{"customer_id":"customer"}')`,
    );
    expect(await anna.next('error')).toMatchObject({ id: 'orders?status=eq.new', code: 'bad_topic' });
    await database.query(`insert into orders values (1, 7, 'new')`);
    expect(await anna.next('change')).toMatchObject({
      topic: 'public.orders?customer_id=eq.7',
      changes: [{ new: { id: 1, customer_id: 7 } }],
    });
    await anna.close();
  });
});

describe('a token', () => {
  const auth = async (socket: Socket, claims: JWTPayload) =>
    socket.send({ type: 'auth', id: 'auth', token: await tokenOf(claims) });

  it('may come in the header, in the query, or in a frame before anything else', async () => {
    const token = await tokenOf({ sub: 'anna' });
    const byHeader = await connect(instance.url, { headers: { authorization: `Bearer ${token}` } });
    const byQuery = await connect(`${instance.url}?token=${token}`);
    for (const socket of [byHeader, byQuery])
      expect(await socket.next('welcome')).toMatchObject({ user: 'anna' });
    const byFrame = await connect(instance.url);
    byFrame.send({ type: 'auth', token });
    byFrame.send({ type: 'subscribe', id: 'a', topic: 'members' });
    expect(await byFrame.next('welcome')).toMatchObject({ user: null });
    await byFrame.next('subscribed');
    expect(byFrame.frames.map(({ type }) => type)).toEqual(['welcome', 'authenticated', 'subscribed']);
    for (const socket of [byHeader, byQuery, byFrame]) await socket.close();
  });

  it('that is not valid ends the connection, with nothing before', async () => {
    for (const socket of [
      await connect(instance.url, { headers: { authorization: 'Bearer hunter2' } }),
      await connect(`${instance.url}?token=hunter2`),
    ]) {
      socket.send({ type: 'subscribe', id: 'a', topic: 'open' });
      expect(await socket.closed).toMatchObject({ code: 4401 });
      expect(socket.frames).toMatchObject([{ type: 'error', code: 'unauthorized' }]);
    }
  });

  it('is renewed in place, without losing a subscription', async () => {
    const soon = Math.floor(Date.now() / 1_000);
    const socket = await client({ customer: 7, exp: soon - 2 });
    await subscribe(socket, 'orders');
    await auth(socket, { sub: 'anna', customer: 7 });
    expect(await socket.next('authenticated')).toEqual({ type: 'authenticated', id: 'auth' });
    await database.query(`insert into orders values (1, 7, 'new')`);
    await socket.next('change');
    // The first one would have run out by now.
    const stays = await client({ customer: 7, exp: soon - 2 });
    await stays.closed;
    socket.send({ type: 'ping' });
    await socket.next('pong');
    await socket.close();
  });

  it('of another user is refused, as is one that is not valid; the first goes on', async () => {
    const socket = await client({ customer: 7 });
    await subscribe(socket, 'orders');
    await auth(socket, { sub: 'bob', customer: 8 });
    expect(await socket.next('error')).toMatchObject({ id: 'auth', code: 'forbidden' });
    socket.send({ type: 'auth', id: 'bad', token: 'hunter2' });
    expect(await socket.next('error')).toMatchObject({ id: 'bad', code: 'unauthorized' });
    await database.query(`insert into orders values (1, 8, 'new'); insert into orders values (2, 7, 'new')`);
    expect(await socket.next('change')).toMatchObject({ changes: [{ key: { id: 2 } }] });
    await socket.close();
  });

  it('that claims less ends what it does not allow', async () => {
    const socket = await client({ customer: 7 });
    for (const topic of ['orders', 'members']) await subscribe(socket, topic);
    await auth(socket, { sub: 'anna' });
    await socket.next('authenticated');
    expect(await socket.next('error')).toMatchObject({ id: 'orders', code: 'bad_topic' });
    await database.query(`insert into orders values (1, 7, 'new'); insert into members values (1)`);
    expect(await socket.next('change')).toMatchObject({ topic: 'public.members' });
    await socket.close();
  });

  it('that runs out ends the connection, and says so', async () => {
    const socket = await client({ exp: Math.floor(Date.now() / 1_000) - 4 });
    expect(await socket.closed).toMatchObject({ code: 4401 });
    expect(socket.frames.at(-1)).toMatchObject({ type: 'error', code: 'unauthorized' });
    // Far ahead is not at once.
    const far = await client({ exp: 4_000_000_000_000 });
    far.send({ type: 'ping' });
    await far.next('pong');
    await far.close();
  });

  it('is in no log line', async () => {
    const token = await tokenOf({ sub: 'anna' });
    const socket = await connect(`${instance.url}?token=${token}`);
    await socket.next('welcome');
    await socket.close();
    expect(
      JSON.stringify(instance.observed.all, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
    ).not.toContain(token.slice(-20));
  });
});
