/** What a listener hears, and how it comes back after every kind of loss. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { backoff } from '../src/postgres/backoff.ts';
import { createListenerBench, type ListenerBench, numbers, until } from './harness/listener-bench.ts';

let bench: ListenerBench;

beforeAll(async () => {
  bench = await createListenerBench();
});
beforeEach(() => bench.begin());
afterEach(() => bench.end());
afterAll(() => bench?.dispose());

describe('a listener hears', () => {
  it('every notification, in order, whatever its payload', async () => {
    const ear = bench.listen();
    await ear.listener.start();
    const largest = `${'ü'.repeat(3_999)}x`;
    expect(Buffer.byteLength(largest)).toBe(7_999);
    const payloads = ['{"no json', '', 'null', largest, 'línea\n{"two":1}', ...numbers(200)];

    for (const payload of payloads.slice(0, 5)) await bench.notify(payload);
    await bench.query('SELECT pg_notify($1, n::text) FROM generate_series(0, 199) AS n', [bench.channel]);

    await until('all are heard', () => ear.heard.length >= payloads.length);
    expect(ear.heard).toEqual(payloads);
    expect(ear.events).toEqual(['connected']);
  });

  it.each(['error', 'notification', 'connected', 'select', 'Ünï "quoted"; --', 'c'.repeat(63)])(
    'on a channel named %s',
    async (name) => {
      bench.channel = name;
      const ear = bench.listen();
      await ear.listener.start();
      await bench.notify('hello');
      await until('it is heard', () => ear.heard.length > 0);
      expect(ear.heard).toEqual(['hello']);
    },
  );

  it('nothing of a channel whose name PostgreSQL would cut off', () => {
    bench.channel = 'ü'.repeat(32);
    expect(() => bench.listen()).toThrow('1 to 63 bytes, this one 64');
  });

  it('under its own name, from a session that idle and slow limits do not end', async () => {
    const limits = '-c idle_session_timeout=100 -c idle_in_transaction_session_timeout=100';
    const ear = bench.listen({
      connectionString: `${bench.postgres.url}?options=${encodeURIComponent(limits)}`,
      healthIntervalMs: 400,
    });
    await ear.listener.start();
    const pid = ear.listener.backendPid;
    const rows = await bench.query('SELECT pid FROM pg_stat_activity WHERE application_name = $1', [
      bench.applicationName,
    ]);
    expect(rows).toEqual([{ pid }]);

    await until('three checks passed', () => ear.seen('listener.checked').length > 3);
    expect(ear.listener.backendPid).toBe(pid);
    expect(ear.events).toEqual(['connected']);
    expect(ear.seen('feed.queue_usage').at(-1)).toEqual({ type: 'feed.queue_usage', fraction: 0 });
  });
});

describe('a listener whose session is lost', () => {
  it('hears again after its backend was terminated', async () => {
    const ear = bench.listen();
    await ear.listener.start();
    for (let round = 1; round <= 5; round++) {
      await bench.query('SELECT pg_terminate_backend($1)', [ear.listener.backendPid]);
      await until('it is connected again', () => ear.events.length === 1 + 2 * round);
      await bench.notify(`round ${round}`);
      await until('it hears', () => ear.heard.length === round);
    }
    expect(ear.events).toEqual(['connected', ...numbers(5).flatMap(() => ['lost', 'connected'])]);
    expect(ear.seen('listener.lost')[0]).toEqual({
      type: 'listener.lost',
      reason: 'terminating connection due to administrator command',
    });
    expect(ear.seen('listener.connected').map(({ first }) => first)).toEqual([
      true,
      ...numbers(5).map(() => false),
    ]);
  });

  it.each(['fast', 'immediate'] as const)('hears again after a restart (%s) of PostgreSQL', async (mode) => {
    const ear = bench.listen();
    await ear.listener.start();
    await bench.postgres.stop(mode);
    await until('the loss is known', () => ear.events.includes('lost'));
    await bench.postgres.start();
    await until('it is connected again', () => ear.listener.connected);
    await bench.notify('back');
    await until('it hears', () => ear.heard.includes('back'));
    expect(ear.events).toEqual(['connected', 'lost', 'connected']);
  });

  it('never gives up while PostgreSQL is down, and says why it is not connected', async () => {
    const attempts: number[] = [];
    const backoffMs = (attempt: number): number => attempts.push(attempt) && 5;
    const ear = bench.listen({ backoffMs });
    await ear.listener.start();
    expect(ear.listener.reason).toBeNull();
    await bench.postgres.stop('fast');

    await until('it has tried a hundred times', () => attempts.length >= 100);
    expect(attempts.slice(0, 100)).toEqual(numbers(100).map((n) => Number(n) + 1));
    expect(ear.listener.connected).toBe(false);
    expect(ear.listener.backendPid).toBeNull();
    expect(ear.listener.reason).toContain('ECONNREFUSED');

    await bench.postgres.start();
    await until('it is connected again', () => ear.listener.connected);
    await bench.notify('back');
    await until('it hears', () => ear.heard.includes('back'));
    expect(ear.events).toEqual(['connected', 'lost', 'connected']);
  });

  it('pauses longer and longer, five seconds at most, never in step', () => {
    const longest = (attempt: number): number => backoff(attempt, () => 1);
    expect([1, 2, 3, 6, 7, 2_000].map(longest)).toEqual([100, 200, 400, 3_200, 5_000, 5_000]);
    expect(backoff(7, () => 0.5)).toBe(2_500);
  });

  it('notices a half-open connection within ten seconds, and hears again', async () => {
    const { proxy, url } = await bench.proxied();
    const ear = bench.listen({ connectionString: url });
    await ear.listener.start();
    await until('a check has passed', () => ear.seen('listener.checked').length >= 2);

    const silentSince = performance.now();
    proxy.silence();
    await until('the loss is known', () => ear.events.includes('lost'), 15_000);
    expect(performance.now() - silentSince).toBeLessThan(8_000);
    expect(ear.seen('listener.lost')[0]?.reason).toBe('no answer within 4000 ms');

    proxy.resume();
    await until('it is connected again', () => ear.listener.connected, 15_000);
    await bench.notify('back');
    await until('it hears', () => ear.heard.includes('back'));
  });

  it('notices that its session no longer listens, though it answers', async () => {
    const wire = await bench.tampered();
    const ear = bench.listen({ connectionString: wire.url, healthIntervalMs: 300 });
    await ear.listener.start();
    await until('a check has passed', () => ear.seen('listener.checked').length >= 2);

    await wire.unlisten();
    await until('it is connected again', () => ear.events.length === 3);
    expect(ear.events).toEqual(['connected', 'lost', 'connected']);
    expect(ear.seen('listener.lost')[0]?.reason).toBe(`the session does not listen on ${bench.channel}`);
    await bench.notify('back');
    await until('it hears', () => ear.heard.includes('back'));
  });

  it('tries again when the new session fails to listen', async () => {
    const wire = await bench.tampered();
    const ear = bench.listen({ connectionString: wire.url });
    await ear.listener.start();

    wire.spoilListens = 1;
    await bench.query('SELECT pg_terminate_backend($1)', [ear.listener.backendPid]);
    await until('it is connected again', () => ear.events.length === 3);
    expect(wire.spoilListens).toBe(0);
    expect(ear.seen('listener.retry').map(({ reason }) => reason)).toEqual([
      'terminating connection due to administrator command',
      'syntax error at or near "LISTEM"',
    ]);
    await bench.notify('back');
    await until('it hears', () => ear.heard.includes('back'));
    expect(ear.events).toEqual(['connected', 'lost', 'connected']);
    expect(wire.open).toBe(1);
  });

  it('hands on nothing between the loss and the next connection', async () => {
    const wire = await bench.tampered();
    const ear = bench.listen({ connectionString: wire.url });
    await ear.listener.start();
    await bench.notify('before');
    await until('it hears', () => ear.heard.includes('before'));

    wire.afterListen = () => bench.notify('between');
    await bench.query('SELECT pg_terminate_backend($1)', [ear.listener.backendPid]);
    await until('it is connected again', () => ear.events.length === 3);
    await bench.notify('after');
    await until('it hears', () => ear.heard.includes('after'));
    expect(ear.heard).toEqual(['before', 'after']);
    expect(ear.heardWhileLost).toEqual([]);
  });
});
