/** Presence: who is in a channel, on whatever instance, and what it costs the database. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createPresence } from '../src/hub/presence.ts';
import type { Attendance, Place } from '../src/postgres/seat.ts';
import { ProtocolError } from '../src/protocol.ts';
import { answerTo } from './harness/answer.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { observations, until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { addressOf, type Program, startProgram } from './harness/program.ts';
import { connect, type Socket } from './harness/socket.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

const ENV = {
  ROWCAST_JWT_SECRET: SECRET,
  ROWCAST_CHANNELS: 'lobby:join+presence, hall:join+presence+public, secret-{team}:join+presence, quiet:join',
};
const LOBBY = 'rowcast.presence?channel=eq.lobby';
const HALL = 'rowcast.presence?channel=eq.hall';

type Row = { channel: string; session: string; user: string | null; since: string };
type Change = { op: string; key: { session: string }; new?: Row; effect: string };

const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) await socket.close();
});

async function client(url: string, user?: string, claims: object = {}): Promise<Socket> {
  const headers: Record<string, string> =
    user === undefined ? {} : { authorization: `Bearer ${await tokenOf({ sub: user, ...claims })}` };
  const socket = await connect(url, { headers });
  sockets.push(socket);
  await socket.next('welcome');
  return socket;
}

async function join(socket: Socket, topic: string): Promise<Socket> {
  expect(await answerTo(socket, { type: 'subscribe', id: topic, topic })).toMatchObject({
    type: 'subscribed',
  });
  return socket;
}

/** Who is there as a client sees it, by session: the snapshot, and then each `enter`, `leave` and new user. */
async function watch(socket: Socket, topic: string): Promise<() => ReadonlyMap<string, string | null>> {
  await answerTo(socket, { type: 'subscribe', id: topic, topic, snapshot: true });
  await socket.next('live', ({ id }) => id === topic);
  const there = new Map<string, string | null>();
  let taken = 0;
  return () => {
    for (; taken < socket.frames.length; taken++) {
      const frame = socket.frames[taken];
      if (frame?.['topic'] !== topic) continue;
      if (frame.type === 'snapshot')
        for (const row of frame['rows'] as Row[]) there.set(row.session, row.user);
      if (frame.type !== 'change') continue;
      for (const { effect, key, new: row } of frame['changes'] as Change[]) {
        if (there.has(key.session) !== (effect !== 'enter')) throw new Error(`${effect} of ${key.session}`);
        if (effect === 'leave') there.delete(key.session);
        else there.set(key.session, row?.user ?? null);
      }
    }
    return there;
  };
}

const sees = (there: () => ReadonlyMap<string, string | null>, users: (string | null)[]) =>
  until(() => JSON.stringify([...there().values()].sort()) === JSON.stringify([...users].sort()), {
    what: `there are ${users}, not ${[...there().values()]}`,
  });

describe('presence', () => {
  let database: Database;
  let instances: Instance[];
  beforeAll(async () => {
    database = await createDatabase();
    instances = [await startInstance(database.url, ENV), await startInstance(database.url, ENV)];
  });
  afterAll(async () => {
    for (const instance of instances) await instance.stop();
    await database.drop();
  });
  const urlOf = (at: number) => instances[at]?.url ?? '';

  it('says who is in a channel on every instance, and who comes and goes, once each', async () => {
    const anna = await join(await client(urlOf(0), 'anna'), '#lobby');
    const there = await watch(await join(await client(urlOf(1), 'bob'), '#lobby'), LOBBY);
    await sees(there, ['anna', 'bob']);
    const carl = await join(await client(urlOf(0), 'carl'), '#lobby');
    await join(await client(urlOf(0), 'carl'), '#lobby');
    await join(carl, '#hall');
    await sees(there, ['anna', 'bob', 'carl', 'carl']);
    carl.terminate();
    await anna.next('subscribed');
    anna.send({ type: 'unsubscribe', id: '#lobby' });
    await sees(there, ['bob', 'carl']);
  });

  it('counts a session once, however often it is subscribed', async () => {
    const there = await watch(await client(urlOf(1), 'eve'), LOBBY);
    const dora = await join(await client(urlOf(0), 'dora'), '#lobby');
    expect(await answerTo(dora, { type: 'subscribe', id: 'again', topic: '#lobby' })).toMatchObject({
      type: 'subscribed',
    });
    await sees(there, ['dora']);
    dora.send({ type: 'unsubscribe', id: '#lobby' });
    await join(await client(urlOf(0), 'last'), '#lobby');
    await sees(there, ['dora', 'last']);
    dora.send({ type: 'unsubscribe', id: 'again' });
    await sees(there, ['last']);
  });

  it('knows the user as soon as a token says who it is', async () => {
    const there = await watch(await client(urlOf(1)), HALL);
    const socket = await join(await client(urlOf(0)), '#hall');
    await sees(there, [null]);
    socket.send({ type: 'auth', token: await tokenOf({ sub: 'frida' }) });
    await sees(there, ['frida']);
  });

  it.each<[string, string | undefined, string, string]>([
    ['without a channel', 'anna', 'rowcast.presence', 'bad_topic'],
    ['of two channels', 'anna', `${LOBBY}&channel=eq.hall`, 'bad_topic'],
    ['of many channels', 'anna', 'rowcast.presence?channel=in.(lobby,hall)', 'bad_topic'],
    ['of all channels but one', 'anna', 'rowcast.presence?channel=neq.x', 'bad_topic'],
    [
      'of a channel whose name is too long',
      'anna',
      `rowcast.presence?channel=eq.${'-'.repeat(129)}`,
      'bad_topic',
    ],
    ['of a channel that is not for him', 'anna', 'rowcast.presence?channel=eq.secret-red', 'forbidden'],
    ['of a channel without presence', 'anna', 'rowcast.presence?channel=eq.quiet', 'forbidden'],
    ['of a channel for users', undefined, LOBBY, 'forbidden'],
    ['by the instance, which is not published', 'anna', `${LOBBY}&instance=eq.1`, 'bad_topic'],
  ])('is not given %s', async (_, user, topic, code) => {
    const socket = await client(urlOf(0), user);
    expect(await answerTo(socket, { type: 'subscribe', id: 'p', topic })).toMatchObject({
      type: 'error',
      code,
    });
  });

  it('is for those whose claims let them join, and ends with a token that does not', async () => {
    const topic = 'rowcast.presence?channel=eq.secret-red';
    const socket = await client(urlOf(0), 'anna', { team: 'red' });
    const there = await watch(socket, topic);
    await join(await client(urlOf(1), 'rita', { team: 'red' }), '#secret-red');
    await sees(there, ['rita']);
    socket.send({ type: 'auth', token: await tokenOf({ sub: 'anna', team: 'blue' }) });
    expect(await socket.next('error')).toMatchObject({ id: topic, code: 'forbidden' });
  });

  it('tells nobody of a channel without presence', async () => {
    await join(await client(urlOf(0), 'anna'), '#quiet');
    await join(await client(urlOf(0), 'anna'), '#lobby');
    const there = await watch(await client(urlOf(1), 'eve'), LOBBY);
    await sees(there, ['anna']);
    const { rows } = await database.query(`select from rowcast.presence where channel = 'quiet'`);
    expect(rows).toEqual([]);
  });

  it('stays as it is while the connection that holds the seat is lost and comes back', async () => {
    const eve = await client(urlOf(1), 'eve');
    const there = await watch(eve, LOBBY);
    await join(await client(urlOf(0), 'ines'), '#lobby');
    await sees(there, ['ines']);
    const before = eve.frames.length;
    const since = instances.map(({ observed }) => observed.since());
    // What a restore, or a delete that was lost, leaves behind.
    await database.query(
      `insert into rowcast.presence select 'lobby', 'ghost', 'ghost', now(), instance from rowcast.presence where "user" = 'ines'`,
    );
    await sees(there, ['ines', 'ghost']);
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rowcast presence' and datname = current_database()`,
    );
    await Promise.all(since.map((observed) => observed.next('presence.seated')));
    await join(await client(urlOf(0), 'theo'), '#lobby');
    await sees(there, ['ines', 'theo']);
    const left = eve.frames
      .slice(before)
      .flatMap(({ type, changes }) =>
        type === 'change' ? (changes as Change[]).filter(({ effect }) => effect === 'leave') : [],
      );
    expect(left).toMatchObject([{ key: { session: 'ghost' } }]);
  });

  it('is there from the start, and keeps nobody from stopping', async () => {
    const fresh = await createDatabase();
    const instance = await startInstance(fresh.url, ENV);
    const blocker = await fresh.client();
    try {
      await watch(await client(instance.url, 'eve'), LOBBY);
      await blocker.query('begin; lock table rowcast.presence');
      await join(await client(instance.url, 'anna'), '#lobby');
      await instance.stop();
    } finally {
      await blocker.end();
      await fresh.drop();
    }
  });

  it('comes back whole where the others took the instance for gone', async () => {
    const there = await watch(await client(urlOf(1), 'eve'), LOBBY);
    await join(await client(urlOf(0), 'anna'), '#lobby');
    await sees(there, ['anna']);
    await database.query('delete from rowcast.instance; delete from rowcast.presence');
    await sees(there, []);
    await join(await client(urlOf(0), 'bob'), '#lobby');
    await sees(there, ['anna', 'bob']);
  });
});

describe('ten thousand who come at once', () => {
  function attended(write: (joined: readonly Attendance[], gone: readonly Place[]) => Promise<void>) {
    const { observe, next } = observations();
    return { next, presence: createPresence({ isPresent: () => true, write, observe, pauseMs: 1 }) };
  }

  it('are a few transactions, and one of them whom PostgreSQL cannot store keeps out nobody else', async () => {
    const there = new Set<string>();
    let writes = 0;
    const { presence, next } = attended(async (joined, gone) => {
      writes++;
      if (joined.some(({ session }) => session === 's7')) throw new ProtocolError('bad_frame', 'no');
      for (const { session } of joined) there.add(session);
      for (const { session } of gone) there.delete(session);
    });
    for (let n = 0; n < 10_000; n++) presence.enter({ id: `s${n}`, identity: null }, 'lobby');
    await next('presence.failed');
    await presence.stop();
    expect(there.size).toBe(9_999);
    expect(writes).toBeLessThan(40);
  });

  it('are written in the end, where writing fails at first', async () => {
    const there = new Set<string>();
    let failures = 1;
    const { presence, next } = attended(async (joined) => {
      if (failures-- > 0) throw new Error('gone');
      for (const { session } of joined) there.add(session);
    });
    presence.enter({ id: 'a', identity: null }, 'lobby');
    await next('presence.failed');
    presence.enter({ id: 'b', identity: null }, 'lobby');
    await next('presence.written');
    expect([...there].sort()).toEqual(['a', 'b']);
    await presence.stop();
  });
});

describe('of two instances', () => {
  const CLIENTS = 5_000;
  const AT_ONCE = 100;
  let database: Database;
  let programs: Program[];
  let urls: string[];
  beforeEach(async () => {
    database = await createDatabase();
    const env = { ...ENV, DATABASE_URL: database.url, HOST: '127.0.0.1', PORT: '0' };
    programs = [startProgram(['serve'], { env }), startProgram(['serve'], { env })];
    urls = await Promise.all(
      programs.map(async (program) => `${(await addressOf(program)).replace('http', 'ws')}/ws`),
    );
  });
  afterEach(async () => {
    for (const program of programs) program.kill('SIGKILL');
    await Promise.all(programs.map(({ ended }) => ended));
    await database.drop();
  });

  it('one that is killed while it writes leaves nobody behind', async () => {
    const there = await watch(await client(urls[0] ?? ''), HALL);
    const blocker = await database.client();
    try {
      await blocker.query('begin; lock table rowcast.presence in exclusive mode');
      await join(await client(urls[1] ?? ''), '#hall');
      const stuck = `select from pg_stat_activity where datname = current_database() and query like '%rowcast.attend%' and wait_event_type = 'Lock'`;
      await until(async () => (await database.query(stuck)).rows.length === 1, { what: 'it writes' });
      programs[1]?.kill('SIGKILL');
      await programs[1]?.ended;
      await blocker.query('commit');
    } finally {
      await blocker.end();
    }
    await until(async () => (await database.query('select from rowcast.instance')).rows.length === 1, {
      what: 'it is known to be gone',
    });
    expect((await database.query('select from rowcast.presence')).rows).toEqual([]);
    await until(() => there().size === 0, { what: 'nobody is there' });
  });

  it('five thousand clients are seen, and those of one that is killed are gone within 15 seconds', async () => {
    const there = await watch(await client(urls[0] ?? ''), HALL);
    const numbers = Array.from({ length: CLIENTS }, (_, n) => n).values();
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (const n of numbers) {
          const socket = await connect(urls[n % 2] ?? '');
          sockets.push(socket);
          socket.send({ type: 'subscribe', id: 'h', topic: '#hall' });
          await socket.next('subscribed');
        }
      }),
    );
    await until(() => there().size === CLIENTS, { what: 'all are there' });
    const written = 'select count(*)::int as transactions from rowcast.log';
    const joined = (await database.query<{ transactions: number }>(written)).rows[0];

    const killedAt = performance.now();
    programs[1]?.kill('SIGKILL');
    await until(() => there().size === CLIENTS / 2, { timeoutMs: 15_000, what: 'half of them are gone' });
    const goneMs = performance.now() - killedAt;
    const all = (await database.query<{ transactions: number }>(written)).rows[0];
    console.log(
      `presence of ${CLIENTS}: ${joined?.transactions} transactions; one instance killed: right after ${goneMs.toFixed(0)} ms, ${all?.transactions} transactions in all`,
    );
    expect(all?.transactions).toBeLessThan(CLIENTS / 10);
  }, 60_000);
});
