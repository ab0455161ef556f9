/**
 * What the tests of the listener stand on: a PostgreSQL of their own, since they
 * stop and start it, listeners with a diary, and the faults between the two.
 */
import { expect } from '@jest/globals';
import type { QueryResultRow } from 'pg';
import { type Postgres, startPostgres } from '../../src/dev/postgres.ts';
import type { Observation, ObservationOf } from '../../src/observation.ts';
import { createListener, type Listener, type ListenerOptions } from '../../src/postgres/listener.ts';
import { until as untilFact } from './facts.ts';
import { startProxy, type Proxy as TcpProxy } from './proxy.ts';
import { withClient } from './suite.ts';
import { startTamperingProxy, type TamperingProxy } from './tampering-proxy.ts';

/** A listener and what it said. */
export interface Ear {
  readonly listener: Listener;
  /** 'connected' and 'lost', in order. */
  readonly events: readonly string[];
  /** Payloads that came while the last event was 'connected', and those that came while it was not. */
  readonly heard: readonly string[];
  readonly heardWhileLost: readonly string[];
  /** The observations of one type. */
  seen<T extends Observation['type']>(type: T): ObservationOf<T>[];
}

export interface ListenerBench {
  readonly postgres: Postgres;
  /** Of the test under way. */
  channel: string;
  readonly applicationName: string;
  /** Around each test: names of its own, and nothing left behind. */
  begin(): void;
  end(): Promise<void>;
  /** A listener, not started; it is stopped after the test. */
  listen(overrides?: Partial<ListenerOptions>): Ear;
  query<Row extends QueryResultRow>(sql: string, params?: unknown[]): Promise<Row[]>;
  notify(payload: string): Promise<void>;
  /** How many sessions PostgreSQL holds for the listeners of this test. */
  sessions(): Promise<number>;
  /** Expects the listener to be stopped, and to have left no session, socket or timer beyond `before`. */
  leavesNothing(ear: Ear, before: number): Promise<void>;
  /** PostgreSQL behind a network that fails, and behind a proxy that tampers. */
  proxied(): Promise<{ proxy: TcpProxy; url: string }>;
  tampered(): Promise<TamperingProxy>;
  dispose(): Promise<void>;
}

export async function createListenerBench(): Promise<ListenerBench> {
  const postgres = await startPostgres({ settings: { fsync: 'off' } });
  const releases: (() => Promise<void>)[] = [];
  let tests = 0;

  const bench: ListenerBench = {
    postgres,
    channel: '',
    get applicationName() {
      return `listener ${tests}`;
    },
    begin() {
      bench.channel = `channel_${++tests}`;
    },
    async end() {
      for (const release of releases.splice(0).reverse()) await release();
      if (postgres.pid === undefined) await postgres.start();
      await until('every session is gone', async () => (await bench.sessions()) === 0);
    },
    listen(overrides = {}) {
      const ear = createEar({
        connectionString: postgres.url,
        channel: bench.channel,
        applicationName: bench.applicationName,
        ...overrides,
      });
      releases.push(() => ear.listener.stop());
      return ear;
    },
    query: (sql, params = []) =>
      withClient(postgres.url, async (client) => (await client.query(sql, params)).rows),
    async notify(payload) {
      await bench.query('SELECT pg_notify($1, $2)', [bench.channel, payload]);
    },
    async sessions() {
      const name = bench.applicationName;
      return (await bench.query('SELECT FROM pg_stat_activity WHERE application_name = $1', [name])).length;
    },
    async leavesNothing(ear, before) {
      expect(ear.listener).toMatchObject({ connected: false, reason: 'stopped', backendPid: null });
      await until('its sessions are gone', async () => (await bench.sessions()) === 0);
      await until('it leaves no handle', () => resources() <= before);
    },
    async proxied() {
      const proxy = await startProxy(postgres.port);
      releases.push(() => proxy.close());
      const url = new URL(postgres.url);
      url.port = String(proxy.port);
      return { proxy, url: url.href };
    },
    async tampered() {
      const wire = await startTamperingProxy(postgres.url);
      releases.push(() => wire.close());
      return wire;
    },
    dispose: () => postgres.dispose(),
  };
  return bench;
}

function createEar(
  options: Pick<ListenerOptions, 'connectionString' | 'channel' | 'applicationName'> &
    Partial<ListenerOptions>,
): Ear {
  const observations: Observation[] = [];
  const events: string[] = [];
  const heard: string[] = [];
  const heardWhileLost: string[] = [];
  const listener = createListener({
    observe: (observation) => observations.push(observation),
    ...options,
    onConnected() {
      events.push('connected');
      options.onConnected?.();
    },
    onLost(reason) {
      events.push('lost');
      options.onLost?.(reason);
    },
    onNotification(payload, sender, isAlone) {
      (events.at(-1) === 'connected' ? heard : heardWhileLost).push(payload);
      options.onNotification?.(payload, sender, isAlone);
    },
  });
  return {
    listener,
    events,
    heard,
    heardWhileLost,
    seen: <T extends Observation['type']>(type: T) =>
      observations.filter((one): one is ObservationOf<T> => one.type === type),
  };
}

/** How many sockets and timers this process has. */
export function resources(): number {
  const kinds = ['TCPSocketWrap', 'TCPConnectWrap', 'Timeout'];
  return process.getActiveResourcesInfo().filter((kind) => kinds.includes(kind)).length;
}

/** Waits until it is so. */
export function until(
  what: string,
  probe: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<boolean> {
  return untilFact(probe, { what, timeoutMs });
}

/** '0' to the one before `count`. */
export function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, n) => String(n));
}
