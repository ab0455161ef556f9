/** A fleet that hears by NATS: who LISTENs, who asks PostgreSQL, and that nobody misses anything, whatever breaks. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { readCursor } from '../src/position/cursor.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, SOON_MUTING, startInstance } from './harness/instance.ts';
import { describeWithNats, type Nats, startNats } from './harness/nats.ts';
import { addressOf, startProgram } from './harness/program.ts';
import { startProxy } from './harness/proxy.ts';
import type { Frame, Socket } from './harness/socket.ts';

const INSTANCES = 3;

let nats: Nats;
let proxy: Awaited<ReturnType<typeof startProxy>>;
let database: Database;
let instances: Instance[];
let clients: Socket[];
let written: number;

beforeEach(async () => {
  await nats.start();
  proxy = await startProxy(nats.port);
  database = await createDatabase();
  await database.query(`create table item (id int primary key, note text);
    select rowcast.watch('item', access => 'public')`);
  instances = [];
  clients = [];
  written = 0;
});
afterEach(async () => {
  for (const instance of instances) await instance.stop();
  await proxy.close();
  await nats.stop();
  await database.drop();
});

/** Starts instances, each of them with a client; resolves when all are by NATS. Those of `cut` go through the proxy. */
async function startFleet(count = INSTANCES, cut: readonly number[] = []): Promise<void> {
  for (let n = 0; n < count; n++) {
    const url = cut.includes(n) ? `nats://127.0.0.1:${proxy.port}` : nats.url;
    const instance = await startInstance(database.url, { ROWCAST_BUS: url }, { pace: SOON_MUTING });
    instances.push(instance);
    clients.push(await instance.subscriber('item'));
  }
  await allByNats();
}

async function readyz(instance: Instance): Promise<unknown> {
  const response = await fetch(`${instance.http}/readyz`);
  return { status: response.status, ...JSON.parse(await response.text()) };
}

async function allByNats(): Promise<void> {
  for (const instance of instances) {
    await until(async () => JSON.stringify(await readyz(instance)).includes('"bus":"nats"'), {
      timeoutMs: 20_000,
      what: 'it hears by NATS',
    });
  }
  await until(async () => (await listeners()) === 1, { what: 'the leader alone listens' });
}

async function byPostgres(instance: Instance): Promise<string> {
  return until(
    async () => {
      const state = JSON.stringify(await readyz(instance));
      return state.includes('"bus":"postgres"') && state;
    },
    { timeoutMs: 20_000, what: 'it hears by PostgreSQL' },
  );
}

async function listeners(): Promise<number> {
  const { rows } = await database.query<{ count: number }>(
    `select count(*)::int from pg_stat_activity
      where datname = current_database() and application_name = 'rowcast listener'`,
  );
  return rows[0]?.count ?? 0;
}

const idsIn = (frame: Frame) => (frame['changes'] as { key: { id: number } }[]).map(({ key }) => key.id);
const idsOf = (client: Socket) => client.frames.filter(({ type }) => type === 'change').flatMap(idsIn);

async function insert(note = ''): Promise<number> {
  const id = ++written;
  await database.query('insert into item (id, note) values ($1, $2)', [id, note]);
  return id;
}

/** Inserts so many from two connections. */
async function insertMany(count: number): Promise<void> {
  const last = written + count;
  const writer = async () => {
    while (written < last) await insert();
  };
  await Promise.all([writer(), writer()]);
}

/** Inserts until the leader has muted the writers, if it has not yet. */
async function insertUntilMuted({ observed }: Instance): Promise<void> {
  const isMuted = () =>
    observed.all.findLast(({ type }) => type === 'leader.muted' || type === 'leader.unmuted')?.type ===
    'leader.muted';
  while (!isMuted()) await insertMany(20);
}

/** Every client has every row once. */
async function complete(): Promise<void> {
  for (const client of clients) {
    await until(() => idsOf(client).length >= written, { timeoutMs: 20_000, what: 'all changes came' });
    expect(idsOf(client).sort((a, b) => a - b)).toEqual(Array.from({ length: written }, (_, n) => n + 1));
  }
}

const leader = () =>
  instances.find(({ observed }) => observed.all.some(({ type }) => type === 'leader.elected')) as Instance;
const followers = () => instances.filter((instance) => instance !== leader());

/** Backends of the instances and when each was asked last, but for those that check or wait for the lead. */
async function asked(): Promise<Map<number, string>> {
  const { rows } = await database.query<{ pid: number; at: string }>(
    `select pid, query_start::text as at from pg_stat_activity
      where datname = current_database() and application_name in ('rowcast', 'rowcast catch-up', 'rowcast listener')`,
  );
  return new Map(rows.map(({ pid, at }) => [pid, at]));
}

async function metric(instance: Instance, name: string): Promise<number> {
  const text = await (await fetch(`${instance.http}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1]);
}

async function elected(): Promise<Instance> {
  return until(leader, { what: 'somebody leads' });
}

describeWithNats('a fleet by NATS', () => {
  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats.stop());

  it('asks PostgreSQL nothing but by its leader, quiet or muted', async () => {
    await startFleet();
    const leading = await elected();
    expect(leading).toBe(instances[0]);
    const marks = followers().map(({ observed }) => observed.all.length);
    const before = await asked();
    for (let n = 0; n < 5; n++) await insert();
    await complete();
    const calmed = leading.observed.since();
    await insertUntilMuted(leading);
    await insertMany(400);
    await complete();
    // The leader confirms what it heard, and all take its snapshot for theirs.
    await calmed.next('feed.read', ({ reason }) => reason === 'calm');
    await insert();
    await complete();
    for (const instance of instances) {
      await until(
        async () => {
          const client = await instance.client();
          const cursor = String(client.frames.find(({ type }) => type === 'welcome')?.['cursor']);
          await client.close();
          return readCursor(cursor).position.delivered.size === 0;
        },
        { what: 'what was heard is folded' },
      );
    }
    const after = await asked();
    for (const [n, { observed }] of followers().entries()) {
      const types = new Set(observed.all.slice(marks[n]).map(({ type }) => type));
      expect([...types].filter((type) => /^(feed\.read|listener|leader)/.test(type))).toEqual([]);
    }
    // What is left without the leader, whose backends end in their own time, is the followers'.
    await clients.shift()?.close();
    await instances.shift()?.stop();
    await until(
      async () => {
        const left = [...(await asked()).keys()].filter((pid) => before.has(pid));
        return left.length >= INSTANCES - 1 && left.every((pid) => after.get(pid) === before.get(pid));
      },
      { what: 'followers were asked nothing' },
    );
  });

  it('hears by PostgreSQL while NATS is gone, says so, and returns', async () => {
    await startFleet();
    const leading = await elected();
    await insertMany(50);
    await nats.stop();
    await insertMany(50);
    for (const instance of instances) {
      const state = await byPostgres(instance);
      expect(state).toContain('"status":"ready"');
      expect(state).toMatch(/"because":"NATS: .+"/);
      expect(await metric(instance, 'rowcast_bus_nats')).toBe(0);
      expect(await metric(instance, 'rowcast_bus_fallbacks_total')).toBeGreaterThan(0);
    }
    await insertUntilMuted(leading);
    await insertMany(100);
    await complete();
    await nats.start();
    const flowing = insertMany(300);
    await allByNats();
    await flowing;
    await complete();
    for (const instance of instances) expect(await metric(instance, 'rowcast_bus_nats')).toBe(1);
    const words = async () => [
      await metric(leading, 'rowcast_bus_said_total\\{outcome="sent"\\}'),
      await metric(followers()[0] as Instance, 'rowcast_bus_heard_total'),
    ];
    const before = await words();
    await insertMany(50);
    await complete();
    for (const [n, count] of (await words()).entries())
      expect(count - (before[n] ?? 0)).toBeGreaterThanOrEqual(50);
  });

  it('starts without NATS, and takes to it when it is there', async () => {
    await nats.stop();
    const instance = await startInstance(database.url, { ROWCAST_BUS: nats.url });
    instances.push(instance);
    clients.push(await instance.subscriber('item'));
    expect(await byPostgres(instance)).toMatch(/"because":"NATS: .*(refused|ECONNREFUSED)/);
    await insert();
    await complete();
    await nats.start();
    await allByNats();
    await insert();
    await complete();
  });

  it.each(['cut', 'silent'] as const)('goes on where half of it is %s off from NATS', async (how) => {
    // The leader is among those at one time, and not at the other.
    const cut = how === 'cut' ? [0, 1] : [2, 3];
    await startFleet(4, cut);
    await elected();
    await insertMany(20);
    if (how === 'cut') {
      await proxy.refuse();
      proxy.cut();
    } else {
      proxy.silence();
    }
    const begunAt = performance.now();
    await insertMany(100);
    for (const n of cut) await byPostgres(instances[n] as Instance);
    expect(performance.now() - begunAt).toBeLessThan(10_000);
    await insertMany(100);
    await complete();
    if (how === 'silent') {
      proxy.cut();
      proxy.resume();
    }
    await proxy.accept();
    const flowing = insertMany(200);
    await allByNats();
    await flowing;
    await complete();
  });

  it('goes on where NATS is slow, for the leader or for others', async () => {
    await startFleet(3, [0, 2]);
    const note = 'x'.repeat(3_000);
    for (let n = 0; n < 8; n++) {
      const begunAt = written;
      proxy.silence();
      while (written < begunAt + 60) await insert(note);
      proxy.resume();
      await insert();
    }
    await complete();
    await allByNats();
  });

  it('follows another when its leader is killed', async () => {
    const program = startProgram([], {
      script: join(process.cwd(), 'test', 'oracle', 'serve.js'),
      env: {
        DATABASE_URL: database.url,
        HOST: '127.0.0.1',
        PORT: '0',
        LOG_LEVEL: 'debug',
        ROWCAST_BUS: nats.url,
        ORACLE_PACE: JSON.stringify(SOON_MUTING),
      },
    });
    try {
      await addressOf(program);
      await program.said(/"event":"leader.elected"/);
      await startFleet();
      await insertMany(100);
      const flowing = insertMany(600);
      await until(() => clients.every((client) => idsOf(client).length > 200), { what: 'it flows' });
      program.kill('SIGKILL');
      await flowing;
      await insert();
      await complete();
      await allByNats();
      await insertMany(10);
      await complete();
    } finally {
      program.kill('SIGKILL');
      await program.ended;
    }
  });

  it('follows another when its leader loses the lead, and hears that one no longer', async () => {
    await startFleet();
    for (let n = 0; n < 3; n++) {
      const seen = instances.map(({ observed }) => observed.since());
      const flowing = insertMany(200);
      await database.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name = 'rowcast leader'
            and pid in (select pid from pg_locks where locktype = 'advisory' and objid = 3 and granted)`,
      );
      await Promise.race(seen.map((one) => one.next('leader.elected')));
      await flowing;
      await complete();
    }
    await allByNats();
  });

  it('has what is too large for a word, and tables under another name', async () => {
    await startFleet();
    const leading = await elected();
    const seen = followers().map(({ observed }) => observed.since());
    await database.query(`insert into item select n, repeat('x', 100) from generate_series(1, 3000) n`);
    written = 3000;
    await complete();
    for (const one of seen) await one.next('feed.read', ({ reason }) => reason === 'large');
    const renamed = followers().map(({ observed }) => observed.since());
    await database.query('alter table item rename to thing');
    for (const one of renamed) await one.next('catalog.loaded');
    expect(renamed.flatMap(({ all }) => all.filter(({ type }) => type === 'listener.checked'))).toEqual([]);
    expect(leading).toBe(await elected());
  });

  it('does not hear the fleet of another database', async () => {
    const other = await createDatabase();
    try {
      await other.query(
        `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
      );
      await startFleet(2);
      const stranger = await startInstance(other.url, { ROWCAST_BUS: nats.url });
      try {
        const client = await stranger.subscriber('item');
        await insertMany(50);
        await complete();
        await other.query('insert into item values (1)');
        await client.next('change');
        expect(idsOf(client)).toEqual([1]);
        await client.close();
      } finally {
        await stranger.stop();
      }
    } finally {
      await other.drop();
    }
  });
});
