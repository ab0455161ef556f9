/** The fixtures themselves: what the other tests rely on. */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { WebSocketServer } from 'ws';
import { createDatabase, type Database } from './harness/database.ts';
import { observations, until } from './harness/facts.ts';
import { type Proxy as FaultyProxy, startProxy } from './harness/proxy.ts';
import { connect } from './harness/socket.ts';

describe('a database of a test', () => {
  it('is apart from every other, and gone once dropped', async () => {
    const [one, two] = await Promise.all([createDatabase(), createDatabase()]);
    await one.query('create table only_here (n int)');
    expect((await two.query(`select to_regclass('only_here') as found`)).rows).toEqual([{ found: null }]);
    await Promise.all([one.drop(), two.drop()]);
    await expect(one.client()).rejects.toMatchObject({ code: '3D000' });
  });

  it('cannot be dropped quietly while a connection leaks', async () => {
    const database = await createDatabase();
    const leak = await database.client();
    await leak.query(`set application_name = 'the culprit'`);
    const cut = ended(leak);
    await expect(database.drop()).rejects.toThrow(/left open: the culprit \(idle/);
    await cut;
  });
});

describe('the proxy', () => {
  let database: Database;
  let proxy: FaultyProxy;
  beforeAll(async () => {
    database = await createDatabase();
    proxy = await startProxy(Number(new URL(database.url).port));
  });
  afterAll(async () => {
    await proxy.close();
    await database.drop();
  });

  async function through(): Promise<pg.Client> {
    const url = new URL(database.url);
    url.port = String(proxy.port);
    const client = new pg.Client({ connectionString: url.href, connectionTimeoutMillis: 300 });
    await client.connect();
    return client;
  }

  it('is silent both ways, and delivers afterwards', async () => {
    const client = await through();
    await client.query('listen rumour');
    proxy.silence();
    let answered = false;
    const answer = client.query('select 1 as n').then(({ rows }) => {
      answered = true;
      return rows;
    });
    const notified = once(client, 'notification');
    await database.query(`notify rumour, 'psst'`);
    await expect(through()).rejects.toThrow(/timeout/);
    expect(answered).toBe(false);
    proxy.resume();
    expect(await answer).toEqual([{ n: 1 }]);
    expect((await notified)[0]).toMatchObject({ payload: 'psst' });
    await client.end();
  });

  it('cuts, refuses and accepts again', async () => {
    const client = await through();
    const cut = ended(client);
    await proxy.refuse();
    await expect(through()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    proxy.cut();
    await cut;
    await proxy.accept();
    await (await through()).end();
  });
});

describe('facts', () => {
  it('come as soon as they are so, or say what is missing', async () => {
    let asked = 0;
    expect(await until(() => ++asked > 2 && asked, { what: 'asked thrice' })).toBe(3);
    await expect(until(() => false, { timeoutMs: 20, what: 'pigs fly' })).rejects.toThrow(/20 ms.*pigs fly/);
  });

  it('are observations, past or to come', async () => {
    const seen = observations();
    const coming = seen.next('feed.commit', ({ changes }) => changes === 2);
    seen.observe({ type: 'feed.caught_up' });
    expect(await seen.next('feed.caught_up')).toBe(seen.all[0]);
    const later = seen.since();
    await expect(later.next('feed.caught_up', undefined, 20)).rejects.toThrow('observed: nothing');
    for (const changes of [1, 2]) {
      seen.observe({ type: 'feed.commit', xid: 1n, source: 'read', changes, lagMs: 0 });
    }
    expect(await coming).toMatchObject({ changes: 2 });
    expect(later.all).toHaveLength(2);
  });
});

describe('the socket', () => {
  it('hands out each frame once, and tells how it was closed', async () => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    server.on('connection', (socket) => {
      for (const n of [1, 2]) socket.send(JSON.stringify({ type: 'a', n }));
      socket.on('message', (data) => socket.close(4400, String(data)));
    });
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const socket = await connect(`ws://127.0.0.1:${address.port}/`);
    expect([await socket.next('a'), await socket.next('a')]).toEqual(socket.frames);
    socket.send({ type: 'bye' });
    expect(await socket.closed).toEqual({ code: 4400, reason: '{"type":"bye"}' });
    await expect(socket.next('a')).rejects.toThrow(/closed with 4400/);
    server.close();
    await once(server, 'close');
  });
});

/** The end of a connection that the other side cuts. */
function ended(client: pg.Client): Promise<void> {
  // Whatever the reason is: an unheard error would be thrown.
  client.on('error', () => undefined);
  return new Promise((resolve) => client.once('end', resolve));
}
