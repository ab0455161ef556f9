/** What services do over HTTP: publish, see who is connected, and disconnect, on whatever instance. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { connect, type Socket } from './harness/socket.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

const SERVICE_TOKEN = 'the token of services in tests';
const ENV = {
  ROWCAST_JWT_SECRET: SECRET,
  ROWCAST_SERVICE_TOKEN: SERVICE_TOKEN,
  ROWCAST_CHANNELS: 'lobby:join+public',
};

let database: Database;
let instances: Instance[];
const sockets: Socket[] = [];

beforeAll(async () => {
  database = await createDatabase();
  instances = [];
  for (let n = 0; n < 3; n++) instances.push(await startInstance(database.url, ENV));
  await until(
    async () => {
      const { rows } = await database.query(
        `select from pg_stat_activity where datname = current_database() and application_name = 'rowcast leader'`,
      );
      return rows.length === 3;
    },
    { what: 'all stand for the lead' },
  );
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) await socket.close();
});
afterAll(async () => {
  for (const instance of instances) await instance.stop();
  await database.drop();
});

async function client(at: number, user?: string): Promise<{ socket: Socket; id: string }> {
  const headers: Record<string, string> =
    user === undefined ? {} : { authorization: `Bearer ${await tokenOf({ sub: user })}` };
  const socket = await connect(instances[at]?.url ?? '', { headers });
  sockets.push(socket);
  const welcome = await socket.next('welcome');
  return { socket, id: String(welcome['session']) };
}

async function ask(
  method: string,
  path: string,
  { body, token = SERVICE_TOKEN, at = 0 }: { body?: string; token?: string; at?: number } = {},
): Promise<{ status: number; answer: Record<string, unknown> }> {
  const headers = token === '' ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(`${instances[at]?.http}${path}`, {
    method,
    headers,
    ...(body ? { body } : {}),
  });
  return { status: response.status, answer: JSON.parse(await response.text()) };
}

describe('a service', () => {
  it('publishes to channels and users', async () => {
    const { socket } = await client(1, 'anna');
    for (const topic of ['#lobby', '@me']) {
      socket.send({ type: 'subscribe', id: topic, topic });
      await socket.next('subscribed');
    }
    const body = '{"channel": "lobby", "event": "posted", "payload": {"n": 12345678901234567890.10}}';
    expect(await ask('POST', '/publish', { body })).toEqual({ status: 200, answer: { published: true } });
    expect(await socket.next('message')).toMatchObject({ topic: '#lobby', event: 'posted', from: null });
    expect(socket.texts.at(-1)).toContain('12345678901234567890.10');
    await ask('POST', '/publish', { body: '{"user": "anna", "event": "hello", "payload": null}' });
    expect(await socket.next('message')).toMatchObject({ topic: '@me', event: 'hello', from: null });
  });

  it.each([
    ['', 400, 'bad_frame', 'no JSON'],
    ['[]', 400, 'bad_frame', 'JSON object'],
    ['{"event":"e","payload":1}', 400, 'bad_frame', 'either "channel" or "user"'],
    ['{"channel":"lobby","event":"e"}', 400, 'bad_frame', 'needs "payload"'],
    ['{"channel":"lobby","event":"e","payload":"a\\u0000"}', 400, 'bad_frame', 'cannot store'],
    [
      `{"channel":"lobby","event":"e","payload":"${'x'.repeat(70_000)}"}`,
      413,
      'limit_exceeded',
      'the limit is 65536',
    ],
  ])('is told what is wrong with %.40j', async (body, status, error, message) => {
    expect(await ask('POST', '/publish', { body })).toEqual({
      status,
      answer: { error, message: expect.stringContaining(message) },
    });
  });

  it('sees who is connected, on all instances, page by page', async () => {
    const made = [await client(0), await client(1, 'anna'), await client(2, 'anna'), await client(2, 'bob')];
    const ids = made.map(({ id }) => id).sort();
    const all = await ask('GET', '/sessions');
    expect(all.answer).toMatchObject({ missing: 0 });
    expect(all.answer).not.toHaveProperty('next');
    const sessions = all.answer['sessions'] as { id: string }[];
    expect(sessions.map(({ id }) => id)).toEqual(ids);
    expect(sessions.find(({ id }) => id === made[1]?.id)).toEqual({
      id: made[1]?.id,
      user: 'anna',
      transport: 'websocket',
      since: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      subscriptions: 0,
    });
    const paged: string[] = [];
    for (let after = ''; ; ) {
      const { answer } = await ask('GET', `/sessions?limit=3&after=${after}`, { at: 1 });
      paged.push(...(answer['sessions'] as { id: string }[]).map(({ id }) => id));
      if (answer['next'] === undefined) break;
      after = String(answer['next']);
    }
    expect(paged).toEqual(ids);
    const annas = await ask('GET', '/sessions?user=anna');
    expect(annas.answer['sessions']).toHaveLength(2);
    expect(await ask('GET', '/sessions?limit=0')).toMatchObject({
      status: 400,
      answer: { error: 'bad_frame' },
    });
  });

  it('disconnects a session, or a user everywhere, for good', async () => {
    const [first, second, third] = [await client(0, 'anna'), await client(1, 'anna'), await client(2, 'bob')];
    expect(await ask('DELETE', `/sessions/${third.id}`)).toEqual({
      status: 200,
      answer: { disconnected: 1, missing: 0 },
    });
    expect(await third.socket.closed).toEqual({ code: 4403, reason: 'disconnected by an operator' });
    expect(await ask('DELETE', `/sessions/${third.id}`)).toMatchObject({
      status: 404,
      answer: { error: 'not_found' },
    });
    expect(await ask('DELETE', '/sessions?user=anna', { at: 2 })).toEqual({
      status: 200,
      answer: { disconnected: 2, missing: 0 },
    });
    for (const { socket } of [first, second]) expect(await socket.closed).toMatchObject({ code: 4403 });
    expect(await ask('DELETE', '/sessions')).toMatchObject({ status: 400 });
  });

  it('must have its token', async () => {
    for (const token of [
      '',
      'another token of services',
      SERVICE_TOKEN.slice(0, -1),
      await tokenOf({ sub: 'anna' }),
    ]) {
      const body = '{"channel":"lobby","event":"e","payload":1}';
      for (const [method, path] of [
        ['POST', '/publish'],
        ['GET', '/sessions'],
        ['DELETE', '/sessions/x'],
        ['DELETE', '/sessions?user=anna'],
      ] as const) {
        const how = method === 'POST' ? { token, body } : { token };
        expect(await ask(method, path, how)).toMatchObject({
          status: 401,
          answer: { error: 'unauthorized' },
        });
      }
    }
    const open = await startInstance(database.url);
    try {
      const response = await fetch(`${open.http}/sessions`, { headers: { authorization: 'Bearer x' } });
      expect(response.status).toBe(403);
    } finally {
      await open.stop();
    }
  });
});
