/**
 * Attacks, over a real connection, on an instance that others use meanwhile: nothing leaks, nothing falls, and the
 * others hear what they did before. What forged tokens meet is in `auth.test.ts`, too.
 */
import { generateKeyPairSync } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { type JWTPayload, SignJWT, UnsecuredJWT } from 'jose';
import { answerTo as answerOf } from './harness/answer.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { connect, type Socket } from './harness/socket.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

const AUDIENCE = 'rowcast';
let database: Database;
let instance: Instance;
/** Hears of everything that is public, from before the first attack until after the last. */
let bystander: Socket;
let written = 0;
const sockets: Socket[] = [];

beforeAll(async () => {
  database = await createDatabase();
  await database.query(`
    create table public_item (id int primary key);
    create table orders (id int primary key, customer_id int not null, status text, secret text default 'hidden');
    insert into orders values (1, 7, 'new'), (2, 8, 'new');
    select rowcast.watch('public_item', access => 'public');
    select rowcast.watch('orders', columns => '{id,customer_id,status}', access => 'scoped', scope => '{"customer_id":"customer"}')`);
  instance = await startInstance(database.url, {
    ROWCAST_JWT_SECRET: SECRET,
    ROWCAST_JWT_AUDIENCE: AUDIENCE,
    ROWCAST_CHANNELS: 'lobby:join+publish+presence, @*:publish',
    ROWCAST_MAX_FRAME_BYTES: '8MiB',
    ROWCAST_MAX_FRAMES_PER_SECOND: '300',
  });
  bystander = await instance.subscriber('public_item');
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) await socket.close();
  await stillWell();
});
afterAll(async () => {
  await bystander.close();
  await instance.stop();
  await database.drop();
});

/** A commit still reaches the others, once, in its place; and nothing that befell the service was a fault of its own. */
async function stillWell(): Promise<void> {
  const id = ++written;
  await database.query('insert into public_item values ($1)', [id]);
  await bystander.next('change', ({ changes }) => JSON.stringify(changes).includes(`"id":${id}}`));
  const heard = bystander.frames.filter(({ type }) => type === 'change').flatMap(({ changes }) => changes);
  expect(heard).toMatchObject(Array.from({ length: written }, (_, n) => ({ new: { id: n + 1 } })));
  expect(instance.observed.all.filter(({ type }) => type === 'session.failed')).toEqual([]);
  expect((await fetch(`${instance.http}/readyz`)).status).toBe(200);
}

async function client(claims?: JWTPayload): Promise<Socket> {
  const token = claims === undefined ? undefined : await tokenOf({ sub: 'anna', aud: AUDIENCE, ...claims });
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const socket = await connect(instance.url, { headers });
  sockets.push(socket);
  await socket.next('welcome');
  return socket;
}

let ids = 0;
const answerTo = (socket: Socket, frame: Record<string, unknown>) =>
  answerOf(socket, { ...frame, id: `a${++ids}` });

/** All that a client was told, as text. */
const told = (socket: Socket) => socket.texts.join('\n');

describe('a forged token', () => {
  const text = (claims: JWTPayload) => ({ sub: 'anna', aud: AUDIENCE, customer: 7, ...claims });
  const soon = () => Math.floor(Date.now() / 1_000) + 3_600;
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' });
  it.each<[string, () => Promise<string> | string]>([
    ['of another secret', () => tokenOf(text({ exp: soon() }), 'another secret, long enough for HS256 too')],
    ['that has run out', () => tokenOf(text({ exp: soon() - 7_200 }))],
    ['of no algorithm', () => new UnsecuredJWT(text({ exp: soon() })).encode()],
    [
      'of no algorithm, in capitals',
      () =>
        new UnsecuredJWT(text({}))
          .encode()
          .replace(/^[^.]+/, Buffer.from('{"alg":"NONE"}').toString('base64url')),
    ],
    ['for another audience', () => tokenOf(text({ exp: soon(), aud: 'elsewhere' }))],
    ['for no audience', () => tokenOf({ sub: 'anna', customer: 7, exp: soon() })],
    [
      'by a key of its own',
      () => new SignJWT(text({ exp: soon() })).setProtectedHeader({ alg: 'RS256' }).sign(privateKey),
    ],
    ['by the text of a public key as a secret', () => tokenOf(text({ exp: soon() }), String(pem))],
    ['without its signature', async () => (await tokenOf(text({ exp: soon() }))).replace(/[^.]+$/, '')],
    [
      'with other claims than were signed',
      async () => {
        const [head, , signature] = (await tokenOf(text({ exp: soon() }))).split('.');
        return [
          head,
          Buffer.from(JSON.stringify(text({ exp: soon(), customer: 8 }))).toString('base64url'),
          signature,
        ].join('.');
      },
    ],
    ['that is none', () => "' or 1=1 --"],
    ['of a hundred thousand characters', () => 'a'.repeat(100_000)],
  ])('%s lets nobody in', async (_, forge) => {
    const token = await forge();
    const socket = await connect(instance.url);
    await socket.next('welcome');
    socket.send({ type: 'auth', id: 'a', token });
    expect(await socket.next('error')).toMatchObject({ code: 'unauthorized' });
    socket.send({ type: 'subscribe', id: 'o', topic: 'orders', snapshot: true });
    await socket.next('error', ({ id }) => id === 'o').catch(() => undefined);
    expect(told(socket)).not.toContain('customer_id');
    expect(token.length < 20 || !told(socket).includes(token)).toBe(true);
    socket.terminate();
  });
});

describe('a scope', () => {
  const WIDER = [
    'orders?customer_id=eq.8',
    'orders?%63ustomer_id=eq.8',
    'orders?customer%5Fid=eq.8',
    '%6frders?customer_id=eq.8',
    'public.orders?customer_id=in.(7,8)',
    'orders?customer_id=gte.0',
    'orders?customer_id=neq.7',
    'orders?customer_id=eq.8&customer_id=eq.7',
    'orders?customer_id=eq.7&customer_id=eq.8',
    'orders?customer_id=eq.%38',
    'orders?customer_id=is.not_null',
    'orders?id=eq.2',
    'orders?status=like.*',
    'orders?or=(customer_id.eq.8)',
    'orders?customer_id=eq.8%26id%3Deq.2',
    'orders?customer_id=eq.7)%20or%20(true',
    'orders?status=eq.new%27%20or%20true--',
    'orders?CUSTOMER_ID=eq.8',
    'orders:insert,update,delete,truncate?customer_id=eq.8',
    'orders%3Fcustomer_id=eq.8',
  ];
  it.each(WIDER)('is not widened by %s', async (topic) => {
    const socket = await client({ customer: 7 });
    const answer = await answerTo(socket, { type: 'subscribe', topic, snapshot: true });
    if (answer.type === 'subscribed') {
      expect(answer['topic']).toContain('customer_id=eq.7');
      await socket.next('live');
    } else {
      expect(answer).toMatchObject({ type: 'error', code: 'bad_topic' });
    }
    await database.query(`insert into orders values (3, 8, 'new'); delete from orders where id = 3`);
    await answerTo(socket, { type: 'subscribe', topic: 'orders?status=eq.last' });
    await database.query(`insert into orders values (4, 7, 'last')`);
    await socket.next('change');
    await database.query('delete from orders where id = 4');
    const rows = socket.frames.flatMap(({ type, rows, changes }) =>
      type === 'snapshot' ? (rows as unknown[]) : type === 'change' ? (changes as unknown[]) : [],
    );
    expect(JSON.stringify(rows)).not.toMatch(/"customer_id":8|"id":[23]\b|hidden/);
  });

  it.each([
    'secret.desc',
    'id.desc,secret',
    'customer_id.desc; drop table orders',
    '(select secret)',
    'id.desc nulls first --',
    '"secret"',
    'ctid',
    'tableoid',
    'orders',
  ])('is not looked past by the order %s', async (order) => {
    const socket = await client({ customer: 7 });
    expect(await answerTo(socket, { type: 'subscribe', topic: 'orders', snapshot: { order } })).toMatchObject(
      { type: 'error' },
    );
    expect(told(socket)).not.toContain('hidden');
  });

  it('is not left by the cursor of another user', async () => {
    const other = await client({ customer: 8 });
    await answerTo(other, { type: 'subscribe', topic: 'orders', snapshot: true });
    const { cursor } = await other.next('live');
    await database.query(`update orders set status = 'paid'`);
    const { cursor: later } = await other.next('change');
    await database.query(`update orders set status = 'new'`);
    for (const since of [cursor, later]) {
      const socket = await client({ customer: 7 });
      await answerTo(socket, { type: 'subscribe', topic: 'orders', since });
      await socket.next('live');
      const changes = socket.frames
        .filter(({ type }) => type === 'change')
        .flatMap((frame) => frame['changes']);
      expect(changes.length).toBeGreaterThan(0);
      expect(changes).toEqual(changes.map(() => expect.objectContaining({ key: { id: 1 } })));
    }
  });

  it.each([
    ['__proto__', { __proto__: { customer: 7 } }],
    ['a constructor', { constructor: { customer: 7 } }],
    ['nothing', {}],
    ['an object', { customer: { eq: 8 } }],
    ['null', { customer: null }],
    ['a list of lists', { customer: [[7], [8]] }],
    ['text that is SQL', { customer: '7 or true' }],
  ])('is not for a token that claims %s', async (_, claims) => {
    const socket = await client(JSON.parse(JSON.stringify(claims)));
    expect(await answerTo(socket, { type: 'subscribe', topic: 'orders', snapshot: true })).toMatchObject({
      code: 'bad_topic',
    });
  });
});

describe('SQL', () => {
  const SQL = [
    `'; drop table orders; --`,
    `"; drop table orders; --`,
    `$$; drop table orders; $$`,
    `\\'; drop table orders; --`,
    `$1`,
    `%s %I %L`,
    `E'\\000'`,
    `*/ drop table orders /*`,
  ];
  const FRAMES: [string, (sql: string) => Record<string, unknown>][] = [
    ['the name of a table', (sql) => ({ type: 'subscribe', topic: sql })],
    ['a schema', (sql) => ({ type: 'subscribe', topic: `${encodeURIComponent(sql)}.orders` })],
    ['an encoded table', (sql) => ({ type: 'subscribe', topic: encodeURIComponent(sql), snapshot: true })],
    ['an operation', (sql) => ({ type: 'subscribe', topic: `orders:${sql}` })],
    ['a column', (sql) => ({ type: 'subscribe', topic: `orders?${encodeURIComponent(sql)}=eq.1` })],
    ['an operator', (sql) => ({ type: 'subscribe', topic: `orders?id=${encodeURIComponent(sql)}.1` })],
    [
      'a number',
      (sql) => ({ type: 'subscribe', topic: `orders?id=eq.${encodeURIComponent(sql)}`, snapshot: true }),
    ],
    [
      'a text',
      (sql) => ({ type: 'subscribe', topic: `orders?status=eq.${encodeURIComponent(sql)}`, snapshot: true }),
    ],
    [
      'a list',
      (sql) => ({
        type: 'subscribe',
        topic: `orders?status=in.(${encodeURIComponent(sql)},new)`,
        snapshot: true,
      }),
    ],
    [
      'a pattern',
      (sql) => ({
        type: 'subscribe',
        topic: `orders?status=like.${encodeURIComponent(sql)}`,
        snapshot: true,
      }),
    ],
    ['an order', (sql) => ({ type: 'subscribe', topic: 'orders', snapshot: { order: sql } })],
    ['a limit', (sql) => ({ type: 'subscribe', topic: 'orders', snapshot: { limit: sql } })],
    ['a cursor', (sql) => ({ type: 'subscribe', topic: 'orders', since: sql })],
    ['what ends', (sql) => ({ type: 'unsubscribe', subscription: sql })],
    ['a channel to join', (sql) => ({ type: 'subscribe', topic: `#${encodeURIComponent(sql)}` })],
    [
      'presence',
      (sql) => ({ type: 'subscribe', topic: `rowcast.presence?channel=eq.${encodeURIComponent(sql)}` }),
    ],
    ['a channel', (sql) => ({ type: 'publish', channel: sql, event: 'e', payload: 1 })],
    ['a user', (sql) => ({ type: 'publish', user: sql, event: 'e', payload: 1 })],
    ['an event', (sql) => ({ type: 'publish', channel: 'lobby', event: sql, payload: 1 })],
    ['a payload', (sql) => ({ type: 'publish', channel: 'lobby', event: 'e', payload: { [sql]: sql } })],
    ['a token', (sql) => ({ type: 'auth', token: sql })],
    ['a type', (sql) => ({ type: sql })],
  ];
  it.each(FRAMES)('in %s stays text', async (_, frame) => {
    for (const sql of SQL) {
      const socket = await client({ customer: 7 });
      const answer = await answerTo(socket, frame(sql));
      expect(['subscribed', 'published', 'unsubscribed', 'error']).toContain(answer.type);
      expect(answer['code']).not.toBe('internal');
      expect(told(socket)).not.toMatch(/syntax error|hidden|"customer_id":8/);
    }
    expect((await database.query('select from orders')).rowCount).toBe(2);
  });

  it('in a user of a token stays text, where he is present and where he sends', async () => {
    const reader = await client({});
    await answerTo(reader, { type: 'subscribe', topic: '#lobby' });
    for (const [n, sub] of SQL.entries()) {
      const socket = await client({ sub });
      await answerTo(socket, { type: 'subscribe', topic: '#lobby' });
      await answerTo(socket, { type: 'publish', channel: 'lobby', event: `e${n}`, payload: 1 });
      expect(await reader.next('message', ({ event }) => event === `e${n}`)).toMatchObject({ from: sub });
      await until(
        async () =>
          (await database.query('select from rowcast.presence where "user" = $1', [sub])).rowCount === 1,
        { what: `${sub} is present` },
      );
    }
    expect((await database.query('select from orders')).rowCount).toBe(2);
  });
});

describe('what is too much', () => {
  it.each<[string, string]>([
    ['a topic of 100 kB', JSON.stringify({ type: 'subscribe', id: 'x', topic: 'a'.repeat(100_000) })],
    [
      'a topic of 100 kB of filters',
      JSON.stringify({ type: 'subscribe', id: 'x', topic: `orders?${'id=eq.1&'.repeat(12_500)}` }),
    ],
    [
      'a list of 100 kB',
      JSON.stringify({ type: 'subscribe', id: 'x', topic: `orders?id=in.(${'1,'.repeat(50_000)}1)` }),
    ],
    [
      'JSON nested a million deep',
      `{"type":"publish","id":"x","channel":"lobby","event":"e","payload":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`,
    ],
    ['JSON that is never closed', '{"a":'.repeat(1_000_000)],
    [
      'a million keys',
      `{"type":"ping",${Array.from({ length: 500_000 }, (_, n) => `"k${n}":1`).join(',')}}x`,
    ],
    ['an id of 100 kB', JSON.stringify({ type: 'ping', id: 'x'.repeat(100_000) })],
    [
      'a number of a million digits',
      `{"type":"publish","id":"x","channel":"lobby","event":"e","payload":${'9'.repeat(1_000_000)}}`,
    ],
    [
      'a pattern that backtracks',
      JSON.stringify({ type: 'subscribe', id: 'x', topic: `orders?status=like.${'*a'.repeat(2_000)}b` }),
    ],
  ])('is refused: %s', async (_, frame) => {
    const socket = await client({ customer: 7 });
    socket.sendRaw(frame);
    const { message } = await socket.next('error');
    expect(String(message).length).toBeLessThan(1_000);
  });

  it('as a frame larger than the limit ends its connection alone', async () => {
    const socket = await client({ customer: 7 });
    socket.sendRaw(`"${'x'.repeat(9 * 1024 * 1024)}"`);
    expect(await socket.closed).toMatchObject({ code: expect.any(Number) });
    sockets.splice(0);
  });

  it('as a flood ends with its connection, and nobody else is kept waiting', async () => {
    const floods = await Promise.all(Array.from({ length: 20 }, () => client({ customer: 7 })));
    for (const socket of floods) {
      for (let n = 0; n < 3_000; n++)
        socket.send({ type: 'subscribe', id: `${n}`, topic: `orders?id=eq.${n}`, snapshot: true });
    }
    await stillWell();
    for (const socket of floods) expect(await socket.closed).toMatchObject({ code: 4429 });
    sockets.splice(0);
  });
});

describe('what is no frame', () => {
  it.each<[string, string | Uint8Array]>([
    ['prototype keys', '{"type":"__proto__","__proto__":{"type":"ping"}}'],
    ['a prototype as the type', '{"type":"constructor"}'],
    [
      'a prototype as a snapshot',
      '{"type":"subscribe","id":"x","topic":"orders","snapshot":{"__proto__":{"limit":1},"constructor":1}}',
    ],
    ['a prototype as an id', '{"type":"unsubscribe","id":"__proto__"}'],
    ['bytes', Uint8Array.from([0, 255, 254, 1])],
    ['a null', 'null'],
    ['a number', '1e999'],
    ['half of one', '{"type":"subscribe","id":"x"'],
  ])('is told so: %s', async (_, data) => {
    const socket = await client();
    socket.sendRaw(data);
    expect(await socket.next('error')).toMatchObject({
      code: expect.stringMatching(/bad_frame|bad_topic|unknown_id/),
    });
    expect(({} as Record<string, unknown>)['limit']).toBeUndefined();
  });

  it('ends the connection where it is text that is no UTF-8', async () => {
    const socket = await client();
    socket.sendRaw(Buffer.from([0x7b, 0xc3, 0x28]).toString('latin1'));
    expect(await socket.next('error')).toMatchObject({ code: 'bad_frame' });
  });
});
