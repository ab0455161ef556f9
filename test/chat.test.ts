/** A chat over two instances: two users, a channel and private messages, and one who is away for a while. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { connect, type Socket } from './harness/socket.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

const MESSAGES = 60;
let database: Database;
let instances: Instance[];
beforeAll(async () => {
  database = await createDatabase();
  const env = { ROWCAST_JWT_SECRET: SECRET, ROWCAST_CHANNELS: 'lobby:join+publish, @*:publish' };
  instances = [await startInstance(database.url, env), await startInstance(database.url, env)];
});
afterAll(async () => {
  for (const instance of instances) await instance.stop();
  await database.drop();
});

/** One user's connection, subscribed to the channel and the inbox from where he left off. */
async function enter(user: string, at: number, since: Record<string, string> = {}): Promise<Socket> {
  const headers = { authorization: `Bearer ${await tokenOf({ sub: user })}` };
  const socket = await connect(instances[at]?.url ?? '', { headers });
  for (const topic of ['#lobby', '@me']) {
    const cursor = since[topic];
    socket.send({ type: 'subscribe', id: topic, topic, ...(cursor ? { since: cursor } : {}) });
    await socket.next(cursor ? 'live' : 'subscribed', ({ id }) => id === topic);
  }
  return socket;
}

/** What was said, by topic: who said it, and what. */
const heard = (sockets: Socket[], topic: string) =>
  sockets.flatMap(({ frames }) =>
    frames.flatMap(({ type, topic: of, from, payload }) =>
      type === 'message' && of === topic ? [`${from}: ${payload}`] : [],
    ),
  );

it('is complete and in order for both, and each message is from who sent it', async () => {
  const anna = await enter('anna', 0);
  const before = await enter('bob', 1);
  const say = (socket: Socket, to: object, n: number) =>
    socket.send({ type: 'publish', id: `p${n}`, ...to, event: 'said', payload: n, from: 'mallory' });

  let n = 0;
  for (; n < MESSAGES / 3; n++) {
    say(anna, n % 4 === 0 ? { user: 'bob' } : { channel: 'lobby' }, n);
    say(before, n % 4 === 1 ? { user: 'anna' } : { channel: 'lobby' }, n);
  }
  await until(() => before.frames.filter(({ type }) => type === 'published').length === n, {
    what: 'bob has said all that he wants',
  });
  await until(() => heard([before], '@me').length > 2 && heard([before], '#lobby').length > 2, {
    what: 'bob has heard something',
  });
  // He goes in the middle of it, with what he has seen, and comes back to the other instance.
  before.terminate();
  const since: Record<string, string> = {};
  for (const { type, topic, cursor } of before.frames)
    if (type === 'message') since[String(topic)] = String(cursor);
  for (; n < (2 * MESSAGES) / 3; n++) say(anna, n % 4 === 0 ? { user: 'bob' } : { channel: 'lobby' }, n);
  await until(() => anna.frames.filter(({ type }) => type === 'published').length === n, {
    what: 'anna has said all that she wants',
  });
  const after = await enter('bob', 0, since);
  for (; n < MESSAGES; n++) {
    say(anna, n % 4 === 0 ? { user: 'bob' } : { channel: 'lobby' }, n);
    say(after, n % 4 === 1 ? { user: 'anna' } : { channel: 'lobby' }, n);
  }

  const numbers = Array.from({ length: MESSAGES }, (_, at) => at);
  const ofAnna = (isPrivate: boolean) => numbers.filter((at) => (at % 4 === 0) === isPrivate);
  const ofBob = (isPrivate: boolean) =>
    numbers.filter((at) => (at < MESSAGES / 3 || at >= (2 * MESSAGES) / 3) && (at % 4 === 1) === isPrivate);
  const lines = (from: string, which: number[]) => which.map((at) => `${from}: ${at}`);
  const inLobby = ofAnna(false).length + ofBob(false).length;
  for (const sockets of [[anna], [before, after]])
    await until(() => heard(sockets, '#lobby').length >= inLobby, { what: 'all of it was heard' });

  for (const sockets of [[anna], [before, after]]) {
    // What two say at once may come to each instance in another order; what one says does not.
    const lobby = heard(sockets, '#lobby');
    expect(lobby.filter((line) => line.startsWith('anna'))).toEqual(lines('anna', ofAnna(false)));
    expect(lobby.filter((line) => line.startsWith('bob'))).toEqual(lines('bob', ofBob(false)));
    expect(lobby).toHaveLength(inLobby);
  }
  await until(() => heard([anna], '@me').length >= ofBob(true).length, { what: 'anna has heard bob' });
  expect(heard([anna], '@me')).toEqual(lines('bob', ofBob(true)));
  expect(heard([before, after], '@me')).toEqual(lines('anna', ofAnna(true)));
  await Promise.all([anna.close(), after.close()]);
});
