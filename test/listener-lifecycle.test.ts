/** How a listener starts and stops, and what a handler that throws does. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  createListenerBench,
  type ListenerBench,
  numbers,
  resources,
  until,
} from './harness/listener-bench.ts';

let bench: ListenerBench;

beforeAll(async () => {
  bench = await createListenerBench();
});
beforeEach(() => bench.begin());
afterEach(() => bench.end());
afterAll(() => bench?.dispose());

describe('a listener that is stopped', () => {
  it('says nothing more and leaves no session', async () => {
    const before = resources();
    const ear = bench.listen();
    await ear.listener.start();
    await Promise.all([ear.listener.stop(), ear.listener.stop()]);
    expect(ear.listener).toMatchObject({ connected: false, reason: 'stopped', backendPid: null });
    await until('its session is gone', async () => (await bench.sessions()) === 0);
    await bench.notify('too late');
    expect(ear.events).toEqual(['connected']);
    expect(ear.heard).toEqual([]);
    await until('it leaves no handle', () => resources() <= before);
  });

  it('in the very moment of a loss leaves no connection', async () => {
    const before = resources();
    const stopped: Promise<void>[] = [];
    const ear = bench.listen({ backoffMs: () => 0, onLost: () => stopped.push(ear.listener.stop()) });
    await ear.listener.start();
    await bench.query('SELECT pg_terminate_backend($1)', [ear.listener.backendPid]);
    await until('it was stopped', () => stopped.length > 0);
    await Promise.all(stopped);
    await bench.leavesNothing(ear, before);
  });

  it('in the pause before a reconnect leaves no connection and no timer', async () => {
    const before = resources();
    const ear = bench.listen({ backoffMs: () => 60_000 });
    await ear.listener.start();
    await bench.query('SELECT pg_terminate_backend($1)', [ear.listener.backendPid]);
    await until('it pauses', () => ear.seen('listener.retry').length > 0);
    await ear.listener.stop();
    await bench.leavesNothing(ear, before);
  });

  it('during a reconnect to a silent server leaves no connection', async () => {
    const before = resources();
    const { proxy, url } = await bench.proxied();
    const ear = bench.listen({ connectionString: url, deadlineMs: 60_000, backoffMs: () => 0 });
    await ear.listener.start();
    proxy.silence();
    proxy.cut();
    await until('it retries', () => ear.seen('listener.retry').length > 0);
    await until('it connects, its proxy too', () => resources() >= before + 3);
    await ear.listener.stop();
    await proxy.close();
    await bench.leavesNothing(ear, before);
  });

  it('during a reconnect, after each answer of the server, leaves no connection', async () => {
    const before = resources();
    const wire = await bench.tampered();
    let steps = 0;
    for (let reconnected = false; !reconnected; ) {
      steps++;
      const ear = bench.listen({ connectionString: wire.url, backoffMs: () => 0 });
      await ear.listener.start();
      let reached = false;
      let stopped: Promise<void> | undefined;
      wire.onAnswer = (piece) => {
        if (piece !== steps || ear.events.length === 1) return;
        reached = true;
        stopped = ear.listener.stop();
      };
      wire.cut();
      await until('the answer came, or no more', () => reached || ear.events.length === 3);
      reconnected = ear.events.length === 3;
      await (stopped ?? ear.listener.stop());
      await until('the proxy has no connection', () => wire.open === 0);
      await until('PostgreSQL has no session', async () => (await bench.sessions()) === 0);
    }
    // Authentication alone takes three answers.
    expect(steps).toBeGreaterThan(5);
    await wire.close();
    await until('it leaves no handle', () => resources() <= before);
  });

  it('before its first connection rejects the start', async () => {
    const before = resources();
    const { proxy, url } = await bench.proxied();
    proxy.silence();
    const ear = bench.listen({ connectionString: url, deadlineMs: 60_000 });
    const rejected = expect(ear.listener.start()).rejects.toThrow('stopped before it was connected');
    await until('it connects, its proxy too', () => resources() >= before + 3);
    await ear.listener.stop();
    await rejected;
    await proxy.close();
    await bench.leavesNothing(ear, before);
  });
});

describe('the first connection', () => {
  it.each([
    [
      'a wrong password',
      (url: URL) => Object.assign(url, { password: 'wrong' }),
      'password authentication failed',
    ],
    ['no password', (url: URL) => Object.assign(url, { password: '' }), 'client password must be a string'],
    ['an unknown user', (url: URL) => Object.assign(url, { username: 'nobody_here' }), 'nobody_here'],
    [
      'an unknown database',
      (url: URL) => Object.assign(url, { pathname: '/nowhere' }),
      '"nowhere" does not exist',
    ],
    [
      'another protocol',
      (url: URL) => url.href.replace(/^\w+:/, 'mysql:'),
      'does not begin with postgres://',
    ],
    ['a port that is none', (url: URL) => url.href.replace(/:\d+\//, ':99999/'), 'Invalid URL'],
  ])('fails for good with %s, and leaves nothing', async (_, spoil, message) => {
    const before = resources();
    const ear = bench.listen({ connectionString: String(spoil(new URL(bench.postgres.url))) });
    const failure = await ear.listener.start().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Error);
    expect(String(failure)).toContain('cannot listen to PostgreSQL: ');
    expect(String(failure)).toContain(message);
    expect(String(failure)).not.toContain(new URL(bench.postgres.url).password);
    expect(ear.seen('listener.retry')).toEqual([]);
    expect(ear.listener.connected).toBe(false);
    await until('it leaves no handle', () => resources() <= before);
  });

  it('is tried until PostgreSQL is there', async () => {
    await bench.postgres.stop('fast');
    const ear = bench.listen({ backoffMs: () => 5 });
    const starting = ear.listener.start();
    await until('it has tried', () => ear.seen('listener.retry').length > 20);
    expect(ear.listener.reason).toContain('ECONNREFUSED');
    expect(ear.events).toEqual([]);
    await bench.postgres.start();
    await starting;
    expect(ear.events).toEqual(['connected']);
  });
});

describe('a handler that throws', () => {
  it('loses no other notification, and its error is raised', async () => {
    const raised: unknown[] = [];
    const heard: string[] = [];
    const ear = bench.listen({
      raise: (error) => raised.push(error),
      onConnected: () => {
        throw new Error('connected');
      },
      onNotification: (payload) => {
        heard.push(payload);
        if (payload === '1' || payload === '2') throw new Error(payload);
      },
      onLost: () => {
        throw new Error('lost');
      },
    });
    await ear.listener.start();
    await bench.query('SELECT pg_notify($1, n::text) FROM generate_series(0, 9) AS n', [bench.channel]);
    await until('all are heard', () => heard.length >= 10);
    expect(heard).toEqual(numbers(10));

    await bench.query('SELECT pg_terminate_backend($1)', [ear.listener.backendPid]);
    await until('it is connected again', () => ear.seen('listener.connected').length === 2);
    expect(raised.map(String)).toEqual(
      ['connected', '1', '2', 'lost', 'connected'].map((text) => `Error: ${text}`),
    );
  });
});
