/** Server-Sent Events, against an instance. */
import { execFile } from 'node:child_process';
import { connect as connectTcp } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createDatabase, type Database } from './harness/database.ts';
import { type EventStream, openEventStream } from './harness/event-stream.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { addressOf, startProgram } from './harness/program.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

let database: Database;
const releases: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  await database.query(`
    create table item (id int primary key, grp int not null, filler text);
    create table note (id int primary key, body text);
    create table mine (id int primary key, owner text);
    select rowcast.watch('item', access => 'public');
    select rowcast.watch('note', access => 'public');
    select rowcast.watch('mine', access => 'scoped', scope => '{"owner":"sub"}');
    create sequence ids`);
});
afterAll(() => database.drop());
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

async function start(env: Record<string, string> = {}): Promise<Instance> {
  const instance = await startInstance(database.url, env);
  releases.push(() => instance.stop());
  return instance;
}

const topicsOf = (...topics: string[]) =>
  topics.map((topic) => `topic=${encodeURIComponent(topic)}`).join('&');

async function open(
  { http }: Pick<Instance, 'http'>,
  search: string,
  headers: Record<string, string> = {},
): Promise<EventStream> {
  const stream = await openEventStream(`${http}/sse?${search}`, { headers });
  releases.push(() => stream.close());
  return stream;
}

async function insert(table: 'item' | 'note', grp = 1): Promise<number> {
  const { rows } = await database.query<{ id: number }>(
    table === 'item'
      ? `insert into item values (nextval('ids'), $1) returning id`
      : `insert into note values (nextval('ids'), $1) returning id`,
    [grp],
  );
  return rows[0]?.id ?? 0;
}

const changesOf = (frame: object): { op: string; key: { id: number } }[] =>
  'changes' in frame ? (frame.changes as { op: string; key: { id: number } }[]) : [];
const idsOf = (stream: Pick<EventStream, 'frames'>) =>
  stream.frames.flatMap(changesOf).map(({ key }) => key.id);
const has = (id: number) => (frame: object) => changesOf(frame).some(({ key }) => key.id === id);

describe('a stream', () => {
  it('says the frames of the WebSocket: their types, cursors and texts, as an event stream', async () => {
    const instance = await start();
    const socket = await instance.subscriber('item');
    const stream = await open(instance, 'topic=item');
    expect(stream.response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(stream.response.headers.get('cache-control')).toBe('no-store');
    expect(stream.response.headers.get('x-accel-buffering')).toBe('no');
    const welcome = await stream.next('welcome');
    expect(welcome).toMatchObject({ protocol: 1, user: null, heartbeatMs: 25_000 });
    const subscribed = await stream.next('subscribed');
    expect(subscribed).toMatchObject({ id: '1', topic: 'public.item' });
    const id = await insert('item');
    const change = await stream.next('change', has(id));
    expect(change).toEqual(await socket.next('change', has(id)));
    // A resume from the cursor of `welcome` would leave out a snapshot.
    expect(stream.events.map(({ id }) => id)).toEqual(['', subscribed['cursor'], change['cursor']]);
    expect(stream.retryMs).toBeGreaterThanOrEqual(1_000);
    expect(stream.retryMs).toBeLessThanOrEqual(2_000);
    await socket.close();
  });

  it('takes a snapshot, in the order and up to the limit that is asked for, and goes on from there', async () => {
    const instance = await start();
    await insert('note');
    const [second, first] = [await insert('note'), await insert('note')];
    const stream = await open(instance, 'topic=note&snapshot=true&limit=2&order=id.desc');
    expect(await stream.next('subscribed')).not.toHaveProperty('cursor');
    const { rows } = await stream.next('snapshot');
    expect((rows as { id: number }[]).map(({ id }) => id)).toEqual([first, second]);
    await stream.next('live');
    const later = await insert('note');
    await stream.next('change', has(later));
    expect(idsOf(stream)).toEqual([later]);
  });

  it('takes snapshots of the tables alone, or of those that are named', async () => {
    const instance = await start({ ROWCAST_CHANNELS: 'lobby:join+public' });
    const all = await open(instance, `${topicsOf('item', '#lobby', 'note')}&snapshot=true`);
    await all.next('subscribed', ({ id }) => id === '3');
    await all.next('live', ({ id }) => id === '3');
    expect(all.frames.filter(({ type }) => type === 'live').map(({ id }) => id)).toEqual(['1', '3']);
    const one = await open(instance, `${topicsOf('item', 'note')}&snapshot=note`);
    await one.next('live');
    expect(one.frames.filter(({ type }) => type === 'live').map(({ id }) => id)).toEqual(['2']);
    await database.query(`select rowcast.publish('lobby', 'said', '"hello"')`);
    expect(await all.next('message')).toMatchObject({ topic: '#lobby', payload: 'hello' });
  });

  it.each(['header', 'since'])('resumes after the id of its last event, by %s', async (how) => {
    const instance = await start();
    const before = await open(instance, 'topic=item');
    await before.next('subscribed');
    await before.next('change', has(await insert('item')));
    await before.close();
    const missed = [await insert('item'), await insert('item')];
    const id = before.lastEventId;
    const after =
      how === 'header'
        ? await open(instance, 'topic=item&since=gone', { 'Last-Event-ID': id })
        : await open(instance, `topic=item&since=${id}`);
    expect(await after.next('subscribed')).toMatchObject({ cursor: id });
    await after.next('change', has(missed[1] ?? 0));
    expect(idsOf(after)).toEqual(missed);
  });

  it('hears private messages and scoped rows by its token, from the header or the URL', async () => {
    const instance = await start({ ROWCAST_JWT_SECRET: SECRET });
    const token = await tokenOf({ sub: 'anna' });
    const byUrl = await open(instance, `${topicsOf('@me', 'mine')}&token=${token}`);
    const byHeader = await open(instance, topicsOf('mine'), { Authorization: `Bearer ${token}` });
    expect(await byUrl.next('welcome')).toMatchObject({ user: 'anna' });
    await byUrl.next('subscribed', ({ id }) => id === '2');
    await byHeader.next('subscribed');
    await database.query(`insert into mine values (1, 'bert'), (2, 'anna')`);
    await database.query(`select rowcast.send('anna', 'paid', '1')`);
    expect(await byUrl.next('message')).toMatchObject({ topic: '@me', event: 'paid' });
    await byHeader.next('change');
    expect([idsOf(byUrl), idsOf(byHeader)]).toEqual([[2], [2]]);
  });

  it('keeps what a payload holds, line breaks between its tokens too', async () => {
    const instance = await start({ ROWCAST_CHANNELS: 'lobby:join+publish+public' });
    const stream = await open(instance, topicsOf('#lobby'));
    await stream.next('subscribed');
    const socket = await instance.client();
    socket.sendRaw('{"type":"publish","channel":"lobby","event":"e","payload":{"a":\n[1,\r\n"\\n"]}}');
    expect((await stream.next('message'))['payload']).toEqual({ a: [1, '\n'] });
    await socket.close();
  });

  it('sends heartbeats as cursors, and comments where nothing else comes', async () => {
    const instance = await start({ ROWCAST_HEARTBEAT_MS: '100' });
    const stream = await open(instance, topicsOf('item', 'note'));
    const { cursor } = await stream.next('cursor');
    // It counts for all of them.
    expect(stream.lastEventId.split(';').slice(1)).toEqual([cursor]);
    // While a table cannot be read, a snapshot does not get on, and heartbeats are held back.
    const lock = await database.client();
    await lock.query('begin; lock table note in access exclusive mode');
    const waiting = await open(instance, 'topic=note&snapshot=true');
    await until(() => waiting.comments.length > 2, { what: 'comments' });
    expect(waiting.frames.map(({ type }) => type)).not.toContain('cursor');
    await lock.query('commit');
    await lock.end();
    await waiting.next('live');
  });

  it('can be read by curl', async () => {
    const instance = await start();
    const curl = promisify(execFile)('curl', [
      '-sN',
      '--max-time',
      '3',
      `${instance.http}/sse?topic=item:insert`,
    ]).catch((error: { stdout: string }) => error);
    await until(() => instance.observed.all.some(({ type }) => type === 'subscription.added'), {
      what: 'curl is subscribed',
    });
    const id = await insert('item', 5);
    const { stdout } = await curl;
    expect(stdout).toContain('event: subscribed\n');
    expect(stdout).toContain(`"new":{"id": ${id}, "grp": 5, "filler": null}`);
  });
});

describe('what is refused for good', () => {
  it.each([
    ['', 'bad_frame', 'topic='],
    ['topic=item&total=eq.7', 'bad_frame', '"total"'],
    ['topic=item&topic=item', 'bad_frame', 'twice'],
    ['topic=item&since=a&since=b', 'bad_frame', '"since"'],
    ['topic=item&since=', 'bad_cursor', 'empty'],
    ['topic=item&since=other;c1', 'bad_cursor', 'other topics'],
    ['topic=item&limit=5', 'bad_frame', 'snapshot=true'],
    ['topic=item&snapshot=true&limit=0', 'bad_frame', '"limit"'],
    ['topic=item&snapshot=true&order=', 'bad_frame', '"order"'],
    ['topic=item&snapshot=1', 'bad_frame', '"1"'],
    ['topic=item&topic=note&topic=mine', 'limit_exceeded', '2 subscriptions'],
  ])('the query %j is a 400 with %s', async (search, error, message) => {
    const instance = await start({ ROWCAST_MAX_SUBSCRIPTIONS: '2' });
    const { response } = await open(instance, search);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error, message: expect.stringContaining(message) });
  });

  it('an invalid token is a 401 at once', async () => {
    const instance = await start({ ROWCAST_JWT_SECRET: SECRET });
    const token = await tokenOf({ sub: 'anna', exp: 1 });
    const { response } = await open(instance, `topic=item&token=${token}`);
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    expect(await response.json()).toEqual({
      error: 'unauthorized',
      message: expect.stringContaining('run out'),
    });
  });

  it('another origin is a 403, and an allowed one may read the answer, whatever it is', async () => {
    const instance = await start({ ROWCAST_ORIGINS: 'https://app.example.com' });
    const from = (Origin: string, search = 'topic=item') => open(instance, search, { Origin });
    const { response } = await from('https://evil.example.com');
    expect(response.status).toBe(403);
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    for (const allowed of [
      await from('https://app.example.com'),
      await from('https://app.example.com', ''),
    ]) {
      const { headers } = allowed.response;
      expect(headers.get('access-control-allow-origin')).toBe('https://app.example.com');
      expect(headers.get('access-control-allow-credentials')).toBe('true');
      expect(headers.get('vary')).toBe('Origin');
    }
    const preflight = await fetch(`${instance.http}/sse?topic=item`, {
      method: 'OPTIONS',
      headers: { Origin: 'https://app.example.com', 'Access-Control-Request-Headers': 'authorization' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toMatch(/Authorization.*Last-Event-ID/);
    const posted = await fetch(`${instance.http}/sse?topic=item`, { method: 'POST' });
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, OPTIONS']);
  });
});

describe('what a browser comes back from', () => {
  it('a wrong topic is an error of its own, and the others go on', async () => {
    const instance = await start();
    const stream = await open(instance, topicsOf('none', 'item', 'note?id=eq.x'));
    expect(await stream.next('error')).toMatchObject({ id: '1', code: 'bad_topic' });
    expect(await stream.next('error')).toMatchObject({ id: '3', code: 'bad_topic' });
    await stream.next('change', has(await insert('item')));
    expect(stream.hasEnded).toBe(false);
  });

  it.each([
    ['ROWCAST_MAX_CONNECTIONS', 'this instance takes 1 connections'],
    ['ROWCAST_MAX_CONNECTIONS_PER_IP', 'connections from one address'],
  ])('over %s it is told so, and comes back later', async (limit, message) => {
    const instance = await start({ [limit]: '1' });
    const socket = await instance.client();
    const stream = await open(instance, 'topic=item');
    expect(stream.response.status).toBe(200);
    await stream.ended;
    expect(stream.frames).toEqual([
      { type: 'error', code: 'limit_exceeded', message: expect.stringContaining(message) },
    ]);
    expect(stream.retryMs).toBeGreaterThanOrEqual(10_000);
    await socket.close();
  });

  it('a snapshot that cannot be had now ends the stream, which resumes the other topics', async () => {
    const instance = await start();
    const lock = await database.client();
    const search = `${topicsOf('item', 'note')}&snapshot=note`;
    await lock.query('begin; lock table note in access exclusive mode');
    const stream = await open(instance, search);
    await stream.next('subscribed', ({ id }) => id === '2');
    const id = await insert('item');
    await stream.next('change', has(id));
    await until(
      async () =>
        (
          await database.query(
            `select pg_terminate_backend(pid) from pg_stat_activity
              where application_name = 'rowcast catch-up' and wait_event_type = 'Lock'
                and datname = current_database()`,
          )
        ).rows.length > 0,
      { what: 'the snapshot waits for the lock' },
    );
    expect(await stream.next('error')).toMatchObject({ id: '2', code: 'unavailable' });
    await stream.ended;
    expect(stream.retryMs).toBeGreaterThanOrEqual(5_000);
    await lock.query('commit');
    await lock.end();
    const missed = await insert('item');
    const again = await open(instance, search, { 'Last-Event-ID': stream.lastEventId });
    await again.next('snapshot', (frame) => frame['id'] === '2');
    await again.next('change', has(missed));
    expect(idsOf(again)).toEqual([missed]);
  });

  it('a token that ran out is said, and the stream ends', async () => {
    const instance = await start({ ROWCAST_JWT_SECRET: SECRET });
    // Five seconds of leeway are added to it.
    const token = await tokenOf({ sub: 'anna', exp: Math.floor(Date.now() / 1_000) - 3 });
    const stream = await open(instance, `topic=item&token=${token}`);
    await stream.next('subscribed');
    expect(await stream.next('error')).toMatchObject({ code: 'unauthorized' });
    await stream.ended;
    expect(stream.comments.join()).toContain('4401');
  });

  it('who is disconnected by an operator is listed as a stream, and does not come back soon', async () => {
    const instance = await start({ ROWCAST_SERVICE_TOKEN: 'a token of services' });
    const stream = await open(instance, topicsOf('item', 'note'));
    await stream.next('subscribed', ({ id }) => id === '2');
    const { session } = await stream.next('welcome');
    const headers = { Authorization: 'Bearer a token of services' };
    const listed = await (await fetch(`${instance.http}/sessions`, { headers })).json();
    expect(listed).toMatchObject({ sessions: [{ id: session, transport: 'sse', subscriptions: 2 }] });
    const metrics = await (await fetch(`${instance.http}/metrics`)).text();
    expect(metrics).toContain('rowcast_transport_sessions{transport="sse"} 1\n');
    expect(metrics).toContain('rowcast_sessions_opened_total{transport="sse"} 1\n');
    await fetch(`${instance.http}/sessions/${session}`, { method: 'DELETE', headers });
    await stream.ended;
    expect(stream.retryMs).toBeGreaterThanOrEqual(86_400_000);
  });

  it('draining ends the streams, and new ones at once, to come back within a second', async () => {
    const instance = await start({ ROWCAST_DRAIN_MS: '1000' });
    const stream = await open(instance, 'topic=item');
    await stream.next('subscribed');
    const stopped = instance.stop();
    const late = await open(instance, 'topic=item');
    for (const one of [stream, late]) {
      await one.ended;
      expect(one.response.status).toBe(200);
      expect(one.retryMs).toBeLessThanOrEqual(1_000);
    }
    expect(late.frames).toEqual([]);
    expect(stream.comments.join()).toContain('1001');
    await stopped;
  });

  it('a client that goes is gone', async () => {
    const instance = await start();
    const stream = await open(instance, 'topic=item');
    await stream.next('subscribed');
    await stream.close();
    expect(await instance.observed.next('session.closed')).toMatchObject({ code: 1006 });
    expect(await instance.observed.next('subscription.removed')).toMatchObject({ topic: 'public.item' });
  });
});

describe('a client that does not read', () => {
  it('for a while gets all of what waited, though nothing follows', async () => {
    const instance = await start();
    const socket = connectTcp(instance.server.port, '127.0.0.1');
    releases.push(async () => socket.destroy());
    socket.pause();
    socket.write('GET /sse?topic=item HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const other = await open(instance, 'topic=item');
    await other.next('subscribed');
    await until(
      () => instance.observed.all.filter(({ type }) => type === 'subscription.added').length === 2,
      {
        what: 'both are subscribed',
      },
    );
    // More than the buffers of the network hold.
    await database.query(`insert into item values (nextval('ids'), 1, repeat('x', 10000000) || 'the end')`);
    await other.next('change');
    let tail = '';
    socket.on('data', (chunk) => {
      tail = (tail + chunk.toString('latin1')).slice(-200);
    });
    socket.resume();
    await until(() => tail.includes('the end'), { what: 'all of the frame' });
  }, 30_000);

  it('loses its stream past the limit, and no frame', async () => {
    const limit = 2 * 1024 * 1024;
    const instance = await start({ ROWCAST_MAX_BUFFERED_BYTES: `${limit}` });
    const { port } = instance.server;
    const socket = connectTcp(port, '127.0.0.1');
    releases.push(async () => socket.destroy());
    socket.write('GET /sse?topic=item HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const other = await open(instance, 'topic=item');
    await other.next('subscribed');
    await until(
      () => instance.observed.all.filter(({ type }) => type === 'subscription.added').length === 2,
      {
        what: 'both are subscribed',
      },
    );
    let text = '';
    socket.pause();
    let slow = false;
    void instance.observed.next('session.slow', undefined, 60_000).then(() => {
      slow = true;
    });
    const written: number[] = [];
    while (!slow) {
      const { rows } = await database.query<{ id: number }>(
        `insert into item values (nextval('ids'), 1, repeat('x', 500000)) returning id`,
      );
      const id = rows[0]?.id ?? 0;
      written.push(id);
      await other.next('change', has(id));
      expect(written.length).toBeLessThan(100);
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.resume();
    await instance.observed.next('session.closed', ({ code }) => code === 4408);
    await until(() => text.endsWith('\r\n0\r\n\r\n'), { what: 'the stream has ended' });
    const got = [...text.matchAll(/"key":\{"id": (\d+)\}/g)].map(([, id]) => Number(id));
    expect(got).toEqual(written.slice(0, got.length));
    expect(got.length).toBeGreaterThan(0);
    expect(text).toContain(': 4408 too slow');
    const [last] = [...text.matchAll(/\nid: (\S+)\n/g)].slice(-1);
    const again = await open(instance, 'topic=item', { 'Last-Event-ID': last?.[1] ?? '' });
    await again.next('change', has(written.at(-1) ?? 0));
    expect(idsOf(again)).toEqual(written.slice(got.length));
  }, 60_000);
});

it('an id of several kilobytes is taken, however the network splits the request', async () => {
  const program = startProgram(['serve'], {
    env: { DATABASE_URL: database.url, HOST: '127.0.0.1', PORT: '0', ROWCAST_DRAIN_MS: '0' },
  });
  try {
    const { port } = new URL(await addressOf(program));
    const socket = connectTcp(Number(port), '127.0.0.1');
    releases.push(async () => socket.destroy());
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    socket.setNoDelay(true);
    const request = `GET /sse?topic=item HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: ${'x'.repeat(9_000)}\r\n\r\n`;
    // The server has read the first part when it has answered what came before it in the same connection.
    socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n${request.slice(0, 3_000)}`);
    await until(() => text.includes('"ok"'), { what: 'an answer' });
    text = '';
    socket.write(request.slice(3_000));
    await until(() => text.includes('event: error'), { what: 'an answer' });
    expect(text).toContain('"code":"bad_cursor"');
  } finally {
    program.kill('SIGTERM');
    await program.ended;
  }
});
