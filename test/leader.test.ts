/** The leader, end to end: it mutes under load, calms afterwards, and nobody misses or doubles anything by it. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, SOON_MUTING, startInstance } from './harness/instance.ts';
import { addressOf, startProgram } from './harness/program.ts';
import type { Frame, Socket } from './harness/socket.ts';

let database: Database;
let instances: Instance[];
let clients: Socket[];
let written: number;
let open: pg.Client[];

beforeEach(async () => {
  database = await createDatabase();
  await database.query(`create table item (id int primary key, version int not null default 1);
    select rowcast.watch('item', access => 'public')`);
  instances = [];
  for (let n = 0; n < 2; n++) {
    instances.push(await startInstance(database.url, {}, { pace: SOON_MUTING }));
    // Else the second may be the one to lead.
    if (n === 0) await first().observed.next('feed.read', ({ reason }) => reason === 'calm');
  }
  clients = [];
  open = [];
  written = 0;
  for (const instance of instances) {
    const client = await instance.client();
    client.send({ type: 'subscribe', id: 'a', topic: 'item' });
    await client.next('subscribed');
    clients.push(client);
  }
});
afterEach(async () => {
  for (const client of open) await client.end();
  for (const instance of instances) await instance.stop();
  await database.drop();
});

/** The one that leads. */
const first = () => instances[0] as Instance;
const idsIn = (frame: Frame) => (frame['changes'] as { key: { id: number } }[]).map(({ key }) => key.id);
const idsOf = (client: Socket) => client.frames.filter(({ type }) => type === 'change').flatMap(idsIn);

async function insert(): Promise<number> {
  const id = ++written;
  await database.query('insert into item (id) values ($1)', [id]);
  return id;
}

/** Inserts from two connections until that is so. */
async function insertUntil(isSo: () => boolean): Promise<void> {
  const writer = async () => {
    while (!isSo()) await insert();
  };
  await Promise.all([writer(), writer()]);
}

async function muted(leader: Instance): Promise<void> {
  const seen = leader.observed.since();
  await insertUntil(() => seen.all.some(({ type }) => type === 'leader.muted'));
  await until(() => holds(4), { what: 'the leader mutes' });
}

/** Whether the leader has that lock, as writers know it. */
async function holds(lock: 4 | 5 | 6): Promise<boolean> {
  const { rowCount } = await database.query(
    `select from pg_locks where locktype = 'advisory' and objid = $1 and mode = 'ExclusiveLock' and granted
        and database = (select oid from pg_database where datname = current_database())`,
    [lock],
  );
  return rowCount === 1;
}

/** Every client has every row once. */
async function complete(): Promise<void> {
  for (const client of clients) {
    await until(() => idsOf(client).length >= written, { what: 'all changes came' });
    expect(idsOf(client).sort((a, b) => a - b)).toEqual(Array.from({ length: written }, (_, n) => n + 1));
  }
}

async function client(): Promise<pg.Client> {
  const one = await database.client();
  one.on('error', () => undefined);
  open.push(one);
  return one;
}

describe('the leader', () => {
  it('mutes under load and calms afterwards, and every instance has everything once', async () => {
    await muted(first());
    const calming = first().observed.since();
    const at = written;
    await insertUntil(() => written > at + 300);
    await calming.next('feed.read', ({ reason }) => reason === 'calm');
    await complete();
    const sources = calming.all.flatMap((o) => (o.type === 'feed.commit' ? o.source : []));
    expect(sources).toContain('read');
    // Quiet again, a commit is heard of by its NOTIFY, by both.
    const seen = instances.map(({ observed }) => observed.since());
    await until(async () => (await holds(6)) && !(await holds(5)), { what: 'it is calm' });
    await insert();
    for (const one of seen) expect(await one.next('feed.commit')).toMatchObject({ source: 'inline' });
    await complete();
  });

  it('waits for who was muted and lingers, and hands on nothing that came after before it', async () => {
    const lingering = await client();
    await muted(first());
    const id = ++written;
    await lingering.query(`begin; insert into item (id) values (${id}); set constraints all immediate`);
    const { rowCount } = await database.query(
      `select from pg_locks where locktype = 'advisory' and objid = 4 and mode = 'ShareLock'
        and database = (select oid from pg_database where datname = current_database())`,
    );
    // It was muted: else it would share the lock.
    expect(rowCount).toBe(0);
    await first().observed.next('leader.unmuted');
    // Others go on meanwhile, on both instances.
    const other = await insert();
    for (const one of clients) await one.next('change', (frame) => idsIn(frame).includes(other));
    await lingering.query('commit');
    // The version after it must come after it.
    await database.query(`update item set version = 2 where id = ${id}`);
    for (const one of clients) {
      await one.next(
        'change',
        (frame) => idsIn(frame).includes(id) && JSON.stringify(frame).includes('"update"'),
      );
      const ops = one.frames
        .filter(({ type }) => type === 'change')
        .flatMap((frame) => frame['changes'] as { op: string; key: { id: number } }[])
        .filter(({ key }) => key.id === id)
        .map(({ op }) => op);
      expect(ops).toEqual(['insert', 'update']);
    }
  });

  it('tells without a further commit of who was muted and lingered', async () => {
    const lingering = await client();
    await muted(first());
    const id = ++written;
    await lingering.query(`begin; insert into item (id) values (${id}); set constraints all immediate`);
    await first().observed.next('leader.unmuted');
    await lingering.query('commit');
    await complete();
  });

  it.each(['rowcast leader', 'rowcast', 'rowcast listener'])(
    'loses its backend %s while it mutes, and nothing else',
    async (name) => {
      await muted(first());
      const seen = instances.map(({ observed }) => observed.since());
      await database.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name = $1`,
        [name],
      );
      const at = written;
      await insertUntil(() => written > at + 200);
      await complete();
      if (name === 'rowcast leader') {
        await Promise.race(seen.map((one) => one.next('leader.elected')));
      }
    },
  );

  it('is followed by another when it stops while it mutes', async () => {
    await muted(first());
    await clients.shift()?.close();
    const [gone] = instances.splice(0, 1);
    const elected = (instances[0] as Instance).observed.next('leader.elected');
    const at = written;
    await Promise.all([gone?.stop(), insertUntil(() => written > at + 200)]);
    await elected;
    await complete();
  });

  it('is unseated when it freezes while it mutes', async () => {
    // In a process of its own, which leads once the first instance has gone.
    await clients.shift()?.close();
    const [gone] = instances.splice(0, 1);
    await gone?.stop();
    const [other] = instances;
    await other?.observed.next('leader.elected');
    const program = startProgram([], {
      script: join(process.cwd(), 'test', 'oracle', 'serve.js'),
      env: {
        DATABASE_URL: database.url,
        HOST: '127.0.0.1',
        PORT: '0',
        LOG_LEVEL: 'debug',
        ORACLE_PACE: JSON.stringify(SOON_MUTING),
      },
    });
    try {
      await addressOf(program);
      const again = other?.observed.since();
      await database.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name = 'rowcast leader'
            and pid in (select pid from pg_locks where locktype = 'advisory' and objid = 3 and granted)`,
      );
      await program.said(/"event":"leader.elected"/);
      await insertUntil(() => /"event":"leader.muted"/.test(program.stdout));
      await until(() => holds(4), { what: 'it mutes' });
      program.kill('SIGSTOP');
      await insert();
      await again?.next('leader.frozen');
      await complete();
    } finally {
      program.kill('SIGCONT');
      program.kill('SIGKILL');
      await program.ended;
    }
  });

  it('does not mute a single writer as soon as several', async () => {
    const seen = first().observed.since();
    const writer = await client();
    for (let n = 0; n < 500; n++) await writer.query('insert into item (id) values ($1)', [++written]);
    await complete();
    expect(seen.all.some(({ type }) => type === 'leader.muted')).toBe(false);
  });

  it('mutes a single writer whose commits come thick enough, and calms after them', async () => {
    for (const instance of instances.splice(0)) await instance.stop();
    const pace = { ...SOON_MUTING, backends: 2, muteAllAbove: 100 };
    const alone = await startInstance(database.url, {}, { pace });
    instances.push(alone);
    clients = [await alone.subscriber('item')];
    await alone.observed.next('feed.read', ({ reason }) => reason === 'calm');
    const seen = alone.observed.since();
    const has = (type: string) => seen.all.some((observation) => observation.type === type);
    const writer = await client();
    while (!has('leader.muted')) await writer.query('insert into item (id) values ($1)', [++written]);
    await complete();
    await until(() => has('leader.unmuted'), { what: 'it calms' });
  });
});
