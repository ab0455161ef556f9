/** Messages on channels and to users: who may send and hear them, in which order, and after having been away. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type pg from 'pg';
import { answerTo } from './harness/answer.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { connect, type Frame, type Socket } from './harness/socket.ts';
import { withClient } from './harness/suite.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

const ENV = {
  ROWCAST_JWT_SECRET: SECRET,
  ROWCAST_CHANNELS:
    'lobby:join+publish, news:join+public, guests:publish+public, team-{team}:join+publish, @*:publish',
};

let database: Database;
let instances: Instance[];
const sockets: Socket[] = [];

beforeAll(async () => {
  database = await createDatabase();
  await database.query(
    `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
  );
  instances = [
    await startInstance(database.url, ENV),
    // It remembers hardly anything, so whoever comes back to it is served from the log.
    await startInstance(database.url, { ...ENV, ROWCAST_RING_BYTES: '64KiB' }),
  ];
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) await socket.close();
});
afterAll(async () => {
  for (const instance of instances) await instance.stop();
  await database.drop();
});

/** A client with a token of that user; without one, without a token. */
async function client(user?: string, claims: object = {}, at = 0): Promise<Socket> {
  const headers: Record<string, string> =
    user === undefined ? {} : { authorization: `Bearer ${await tokenOf({ sub: user, ...claims })}` };
  const socket = await connect(instances[at]?.url ?? '', { headers });
  sockets.push(socket);
  await socket.next('welcome');
  return socket;
}

async function subscribed(socket: Socket, topic: string, since?: unknown): Promise<Frame> {
  const answer = await answerTo(socket, { type: 'subscribe', id: topic, topic, ...(since ? { since } : {}) });
  expect(answer).toMatchObject({ type: 'subscribed', topic });
  return answer;
}

const publish = (more: object) => ({ type: 'publish', id: 'p', event: 'said', payload: null, ...more });
const messagesOf = (socket: Socket) => socket.frames.filter(({ type }) => type === 'message');
const eventsOf = (socket: Socket) => messagesOf(socket).map(({ event }) => event);

describe('a message', () => {
  it('of SQL reaches whoever is subscribed to the channel, on every instance, digit by digit', async () => {
    const payload = '{"n": 12345678901234567890.10, "text": "a\\u2028\\"\\t"}';
    const hearers = [await client(), await client('anna', {}, 1)];
    for (const socket of hearers) await subscribed(socket, '#news');
    await database.query(`select rowcast.publish('news', 'posted', $1)`, [payload]);
    for (const socket of hearers) {
      const frame = await socket.next('message');
      expect(frame).toMatchObject({ type: 'message', topic: '#news', event: 'posted', from: null });
      expect(Object.keys(frame).sort()).toEqual([
        'at',
        'cursor',
        'event',
        'from',
        'payload',
        'topic',
        'type',
      ]);
      expect(frame['at']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
      expect(socket.texts.at(-1)).toContain('"n": 12345678901234567890.10');
    }
  });

  it('is sent where its transaction commits, in the order of all that it does', async () => {
    const socket = await client('anna');
    for (const topic of ['#news', '#lobby', 'item'])
      await answerTo(socket, { type: 'subscribe', id: topic, topic });
    await database.query(`begin; select rowcast.publish('news', 'never'); rollback`);
    await database.query(`begin;
      select rowcast.publish('news', 'first'); insert into item values (1);
      savepoint a; select rowcast.publish('news', 'undone'); rollback to a;
      select rowcast.publish('lobby', 'second'), rowcast.publish('news', 'third');
      insert into item values (2); commit`);
    await database.query(`select rowcast.publish('news', 'last')`);
    await socket.next('message', ({ event }) => event === 'last');
    const said = socket.frames.flatMap(({ type, event, changes, more }): unknown[] => {
      if (type === 'message') return [event];
      if (type !== 'change') return [];
      return [...(changes as { key: { id: number } }[]).map(({ key }) => key.id), ...(more ? ['more'] : [])];
    });
    expect(said).toEqual(['first', 1, 'more', 'second', 'third', 2, 'last']);
  });

  it('is resumed after, from the ring and from the log, each with a cursor of its own', async () => {
    const long = 'x'.repeat(20_000);
    const socket = await client('anna');
    await subscribed(socket, '#lobby');
    await database.query(
      `select rowcast.publish('lobby', 'a'), rowcast.publish('lobby', 'b'), rowcast.publish('news', 'other'),
      rowcast.publish('lobby', 'c', to_jsonb($1::text)), rowcast.publish('lobby', 'd')`,
      [long],
    );
    await database.query(`select rowcast.publish('lobby', 'e', to_jsonb(repeat('y', 100000)))`);
    await database.query(`select rowcast.publish('lobby', 'f')`);
    await socket.next('message', ({ event }) => event === 'f');
    expect(eventsOf(socket)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    const cursors = messagesOf(socket).map(({ cursor }) => cursor);
    expect(new Set(cursors).size).toBe(6);
    for (const at of [0, 1]) {
      for (const [n, cursor] of cursors.entries()) {
        const back = await client('anna', {}, at);
        await subscribed(back, '#lobby', cursor);
        await back.next('live');
        expect([at, n, eventsOf(back)]).toEqual([at, n, ['a', 'b', 'c', 'd', 'e', 'f'].slice(n + 1)]);
        await back.close();
      }
    }
  });

  it('has names of any letters', async () => {
    const channel = 'Café?% \t"#1"\n';
    const socket = await client('anna', { team: 'ß "x"\t' });
    const topic = '#team-ß "x"%09';
    await subscribed(socket, topic);
    await database.query('select rowcast.publish($1, $2), rowcast.publish($3, $2)', [
      'team-ß "x"\t',
      'événement "x"\t',
      channel,
    ]);
    expect(await socket.next('message')).toMatchObject({ topic, event: 'événement "x"\t' });
  });

  it.each([
    [`publish('', 'e')`, 'the name of a channel has 1 to 128 characters; this one has 0'],
    [`publish(null, 'e')`, 'the name of a channel has 1 to 128 characters; this one is null'],
    [`send(repeat('x', 129), 'e')`, 'the name of a user has 1 to 128 characters; this one has 129'],
    [`publish('a', '')`, 'the event of a message has 1 to 128 characters; this one has 0'],
  ])('rowcast.%s says what is wrong', async (call, message) => {
    await expect(database.query(`select rowcast.${call}`)).rejects.toThrow(message);
  });

  it('is published by whoever may execute the function, and needs nothing else', async () => {
    const name = `rowcast_test_${randomBytes(6).toString('hex')}`;
    await database.query(
      `create role ${name} login password 'secret'; grant usage on schema rowcast to ${name}`,
    );
    try {
      const url = new URL(database.url);
      url.username = name;
      url.password = 'secret';
      await withClient(url.href, async (writer: pg.Client) => {
        await expect(writer.query(`select rowcast.publish('news', 'e')`)).rejects.toThrow(
          'permission denied',
        );
        await database.query(`grant execute on function rowcast.publish(text, text, jsonb) to ${name}`);
        const socket = await client();
        await subscribed(socket, '#news');
        await writer.query(`select rowcast.publish('news', 'by a role')`);
        expect(await socket.next('message')).toMatchObject({ event: 'by a role' });
      });
    } finally {
      await database.query(`drop owned by ${name}; drop role ${name}`);
    }
  });
});

describe('clients', () => {
  it('join the channels that are open to them', async () => {
    const [nobody, anna] = [await client(), await client('anna', { team: 'red' })];
    for (const topic of ['#lobby', '#team-red', '#other', '#guests'])
      expect(await answerTo(nobody, { type: 'subscribe', id: topic, topic })).toMatchObject({
        code: 'forbidden',
      });
    for (const topic of ['#news', '#lobby', '#team-red']) await subscribed(anna, topic);
    for (const topic of ['#team-blue', '#team-', '#other', '#guests', '#@anna'])
      expect(await answerTo(anna, { type: 'subscribe', id: topic, topic })).toMatchObject({
        code: 'forbidden',
      });
    expect(
      await answerTo(anna, { type: 'subscribe', id: 's', topic: '#news:insert', snapshot: true }),
    ).toMatchObject({
      code: 'forbidden',
    });
    expect(await answerTo(anna, { type: 'subscribe', id: 's', topic: '#news?a=eq.1' })).toMatchObject({
      code: 'bad_topic',
    });
    const again = await client('anna');
    expect(
      await answerTo(again, { type: 'subscribe', id: 's', topic: '#news', snapshot: true }),
    ).toMatchObject({
      type: 'error',
      code: 'bad_topic',
    });
  });

  it('publish where they may, as who they are', async () => {
    const [nobody, anna, bob] = [
      await client(),
      await client('anna', { team: 'red' }),
      await client('bob', {}, 1),
    ];
    await subscribed(bob, '#lobby');
    await subscribed(anna, '#team-red');
    const payload = { from: 'mallory', deep: [1, { a: null }] };
    expect(await answerTo(anna, publish({ channel: 'lobby', payload, from: 'mallory' }))).toEqual({
      type: 'published',
      id: 'p',
    });
    expect(await bob.next('message')).toMatchObject({
      topic: '#lobby',
      event: 'said',
      payload,
      from: 'anna',
    });
    anna.sendRaw('{"type":"publish","channel":"lobby","event":"n","payload":12345678901234567890.10}');
    await bob.next('message');
    expect(bob.texts.at(-1)).toContain('12345678901234567890.10');
    expect(anna.frames.some(({ type, id }) => type === 'published' && id === undefined)).toBe(false);
    await answerTo(anna, publish({ channel: 'team-red' }));
    expect(await anna.next('message')).toMatchObject({ topic: '#team-red', from: 'anna' });
    for (const [socket, channel] of [
      [nobody, 'lobby'],
      [nobody, 'news'],
      [anna, 'news'],
      [anna, 'team-blue'],
      [anna, '@bob'],
    ] as const) {
      expect(await answerTo(socket, publish({ channel }))).toMatchObject({
        type: 'error',
        code: 'forbidden',
      });
    }
    expect(await answerTo(nobody, publish({ channel: 'guests' }))).toMatchObject({ type: 'published' });
  });

  it('are told of what cannot be stored, and others are none the worse for it', async () => {
    const [anna, bob] = [await client('anna'), await client('bob')];
    await subscribed(bob, '#lobby');
    const [bad, good] = await Promise.all([
      answerTo(anna, publish({ channel: 'lobby', id: 'bad', payload: 'a\u0000b' })),
      answerTo(bob, publish({ channel: 'lobby', id: 'good', payload: 'fine' })),
    ]);
    expect(bad).toMatchObject({ type: 'error', code: 'bad_frame' });
    expect(good).toMatchObject({ type: 'published' });
    expect(await bob.next('message')).toMatchObject({ payload: 'fine' });
  });

  it('have many messages written in few transactions', async () => {
    const anna = await client('anna');
    const seen = instances[0]?.observed.since();
    for (let n = 0; n < 150; n++) anna.send(publish({ channel: 'lobby', id: `${n}`, payload: n }));
    await until(() => anna.frames.filter(({ type }) => type === 'published').length === 150, {
      what: 'all are published',
    });
    const written = (seen?.all ?? []).flatMap((one) =>
      one.type === 'message.relayed' ? [one.messages] : [],
    );
    expect(written.reduce((sum, n) => sum + n, 0)).toBe(150);
    expect(written.length).toBeLessThan(50);
  });
});

describe('a private message', () => {
  it('reaches its user on all connections, nobody else, and whoever was away', async () => {
    const here = await client('anna');
    const there = await client('anna', {}, 1);
    const bob = await client('bob');
    const { cursor } = await subscribed(here, '@me');
    for (const socket of [there, bob]) await subscribed(socket, '@me');
    await database.query(`select rowcast.send('anna', 'hello', '1')`);
    await answerTo(bob, publish({ user: 'anna', event: 'hi', payload: 2 }));
    for (const socket of [here, there]) {
      expect(await socket.next('message')).toMatchObject({
        topic: '@me',
        event: 'hello',
        from: null,
        payload: 1,
      });
      expect(await socket.next('message')).toMatchObject({
        topic: '@me',
        event: 'hi',
        from: 'bob',
        payload: 2,
      });
    }
    await database.query(`select rowcast.send('bob', 'last')`);
    await bob.next('message');
    expect(eventsOf(bob)).toEqual(['last']);
    for (const at of [0, 1]) {
      const back = await client('anna', {}, at);
      await subscribed(back, '@me', cursor);
      await back.next('live');
      expect(eventsOf(back)).toEqual(['hello', 'hi']);
    }
  });

  it('is for users', async () => {
    const nobody = await client();
    expect(await answerTo(nobody, { type: 'subscribe', id: 'a', topic: '@me' })).toMatchObject({
      code: 'unauthorized',
    });
    expect(await answerTo(nobody, publish({ user: 'anna' }))).toMatchObject({ code: 'forbidden' });
  });
});
