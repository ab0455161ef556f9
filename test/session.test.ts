/** What a client is answered, over a real socket. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ProtocolError } from '../src/protocol.ts';
import { type Endpoint, inserted, startEndpoint } from './harness/endpoint.ts';
import { until } from './harness/facts.ts';
import type { Socket } from './harness/socket.ts';
import { connect } from './harness/socket.ts';

let endpoint: Endpoint;
beforeEach(async () => {
  endpoint = await startEndpoint({ limits: { maxSubscriptions: 3, maxFramesPerSecond: 20 } });
});
afterEach(() => endpoint.close());

/** Everything sent before this has been answered. */
async function settle(socket: Socket): Promise<void> {
  const id = `settle-${socket.frames.length}`;
  socket.send({ type: 'ping', id });
  await socket.next('pong', ({ id: answered }) => answered === id);
}

/** The frames but for pongs. */
function told(socket: Socket): unknown[] {
  return socket.frames.filter(({ type }) => type !== 'pong' && type !== 'welcome');
}

async function answerTo(frame: object): Promise<unknown> {
  const socket = await endpoint.client();
  socket.send(frame);
  await settle(socket);
  const [answer, ...others] = told(socket);
  expect(others).toEqual([]);
  return answer;
}

describe('a session', () => {
  it('begins with welcome', async () => {
    const socket = await endpoint.client();
    expect(socket.frames[0]).toEqual({
      type: 'welcome',
      protocol: 1,
      session: 's-1',
      user: null,
      cursor: 'c0',
      heartbeatMs: 25_000,
    });
  });

  it('answers a ping with where the service is', async () => {
    const socket = await endpoint.client();
    endpoint.commit([]);
    socket.send({ type: 'ping', id: 'p' });
    socket.send({ type: 'ping' });
    await socket.next('pong');
    await socket.next('pong');
    expect(socket.frames.slice(1)).toEqual([
      { type: 'pong', id: 'p', cursor: 'c1' },
      { type: 'pong', cursor: 'c1' },
    ]);
  });

  it.each([
    [{ type: 'subscribe', id: 'a', topic: '#lobby' }, 'forbidden', '#lobby is no channel for this client'],
    [
      { type: 'subscribe', id: 'a', topic: '@me' },
      'unauthorized',
      'private messages are for users; connect with a token',
    ],
    [
      { type: 'publish', id: 'a', channel: 'x', event: 'e', payload: 1 },
      'forbidden',
      'this client may not publish to the channel "x"',
    ],
    [{ type: 'auth', id: 'a', token: 't' }, 'unauthorized', 'no tokens here'],
    [{ type: 'unsubscribe', id: 'a' }, 'unknown_id', 'there is no subscription "a" on this connection'],
    [{ type: 'subscribe', id: 'a', topic: 'm:explode' }, 'bad_topic', expect.stringContaining('explode')],
    [
      { type: 'subscribe', id: 'a', topic: 'rooms?id=eq.1' },
      'unavailable',
      expect.stringContaining('filters'),
    ],
    [
      { type: 'subscribe', id: 'a', topic: 'rooms', since: 'c0' },
      'unavailable',
      expect.stringContaining('since'),
    ],
    [
      { type: 'subscribe', id: 'a', topic: 'rooms', snapshot: true },
      'unavailable',
      expect.stringContaining('since'),
    ],
    [{ type: 'dance', id: 'a' }, 'bad_frame', expect.stringContaining('dance')],
  ])('answers %j with %s', async (frame, code, message) => {
    expect(await answerTo(frame)).toEqual({ type: 'error', id: 'a', code, message });
    expect(endpoint.hub.subscriptions).toBe(0);
    expect(endpoint.seen.all).toContainEqual({ type: 'session.error', session: 's-1', code });
  });

  it('tells a table that is not for the client from one that is not there by nothing', async () => {
    endpoint.tables.set('public.mine', {
      relation: 1,
      table: 'public.mine',
      access: 'authenticated',
      scope: null,
    });
    endpoint.tables.set('public.ours', { relation: 2, table: 'public.ours', access: 'scoped', scope: {} });
    const about = async (name: string) =>
      JSON.stringify(await answerTo({ type: 'subscribe', id: 'a', topic: name })).replaceAll(name, 'NAME');
    const unknown = await about('none');
    expect(unknown).toContain('"code":"bad_topic"');
    expect([await about('mine'), await about('ours')]).toEqual([unknown, unknown]);
  });

  it('says so when tables cannot be looked up', async () => {
    endpoint.look = () => Promise.reject(new Error('connection refused by 10.0.0.1'));
    expect(await answerTo({ type: 'subscribe', id: 'a', topic: 'rooms' })).toEqual({
      type: 'error',
      id: 'a',
      code: 'unavailable',
      message: 'tables cannot be looked up now; try again after a while',
    });
  });
});

describe('a subscription', () => {
  it('hears all that is committed later, and nothing that was before', async () => {
    endpoint.commit([inserted(1)]);
    const socket = await endpoint.client();
    socket.send({ type: 'subscribe', id: 'a', topic: 'messages' });
    expect(await socket.next('subscribed')).toEqual({
      type: 'subscribed',
      id: 'a',
      topic: 'public.messages',
      cursor: 'c1',
    });
    endpoint.commit([inserted(2, 'public.rooms')]);
    endpoint.commit([inserted(3), inserted(4)]);
    expect(await socket.next('change')).toMatchObject({
      topic: 'public.messages',
      cursor: 'c3',
      changes: [{ new: { id: 3 } }, { new: { id: 4 } }],
    });
    await settle(socket);
    expect(socket.frames.filter(({ type }) => type === 'change')).toHaveLength(1);
  });

  it('begins exactly between what the same turn commits before it and after it', async () => {
    const large = inserted(`1${'0'.repeat(100_000)}`);
    await endpoint.subscriber('messages');
    for (const [before, after] of [
      [inserted(1), inserted(2)],
      [large, inserted(3)],
      [inserted(4), large],
    ] as const) {
      const socket = await endpoint.client();
      // The look-up ends, and the subscription begins, in the turn of these two commits.
      let looked = () => {};
      const asked = new Promise<void>((resolve) => {
        endpoint.look = () =>
          new Promise((found) => {
            looked = found;
            resolve();
          });
      });
      socket.send({ type: 'subscribe', id: 'a', topic: 'messages' });
      await asked;
      const from = endpoint.commit([before]);
      looked();
      await untilHeld(2);
      const to = endpoint.commit([after]);
      expect(await socket.next('subscribed')).toMatchObject({ cursor: from });
      expect(await socket.next('change')).toMatchObject({ cursor: to });
      await settle(socket);
      expect(socket.texts.filter((text) => text.includes('"change"'))).toHaveLength(1);
      await socket.close();
      await until(() => endpoint.hub.subscriptions === 1, { what: 'it is gone' });
    }
  });

  it('that joins within a commit gets what still waits of it', async () => {
    const early = await endpoint.subscriber('messages');
    endpoint.commit([inserted(1)], { last: false });
    endpoint.commit([inserted(2)], { first: false, last: false });
    const late = await endpoint.client();
    late.send({ type: 'subscribe', id: 'a', topic: 'messages' });
    expect(await late.next('subscribed')).toMatchObject({ cursor: 'c1' });
    endpoint.commit([], { first: false });
    expect(await late.next('change')).toMatchObject({ cursor: 'c3', changes: [{ new: { id: 2 } }] });
    const more = await early.next('change');
    expect(more).toMatchObject({ cursor: 'c1', more: true, changes: [{ new: { id: 1 } }] });
    expect(await early.next('change')).not.toHaveProperty('more');
  });

  it('ends when it is unsubscribed, and frees its id', async () => {
    const socket = await endpoint.subscriber('messages');
    socket.send({ type: 'unsubscribe', id: 'messages' });
    expect(await socket.next('unsubscribed')).toEqual({ type: 'unsubscribed', id: 'messages' });
    expect([endpoint.hub.subscriptions, endpoint.hub.topics]).toEqual([0, 0]);
    // Another one keeps the topic published.
    await endpoint.subscriber('messages');
    endpoint.commit([inserted(1)]);
    socket.send({ type: 'subscribe', id: 'messages', topic: 'messages:insert' });
    await socket.next('subscribed');
    expect(socket.frames.filter(({ type }) => type === 'change')).toEqual([]);
  });

  it('beside another of the same topic hears until the last of them ends', async () => {
    const socket = await endpoint.client();
    for (const id of ['a', 'b']) socket.send({ type: 'subscribe', id, topic: 'messages' });
    await settle(socket);
    expect([endpoint.hub.subscriptions, endpoint.hub.topics]).toEqual([2, 1]);
    socket.send({ type: 'unsubscribe', id: 'a' });
    await settle(socket);
    endpoint.commit([inserted(1)]);
    await socket.next('change');
    socket.send({ type: 'unsubscribe', id: 'b' });
    await settle(socket);
    endpoint.commit([inserted(2)]);
    await settle(socket);
    expect(socket.frames.filter(({ type }) => type === 'change')).toHaveLength(1);
  });

  it('may be unsubscribed before it was looked up, and leaves nothing behind', async () => {
    const socket = await endpoint.client();
    let looked = () => {};
    endpoint.look = () =>
      new Promise((found) => {
        looked = found;
      });
    for (const frame of [
      { type: 'subscribe', id: 'a', topic: 'messages' },
      { type: 'unsubscribe', id: 'a' },
    ])
      socket.send(frame);
    await socket.next('unsubscribed');
    looked();
    await settle(socket);
    expect(told(socket)).toEqual([{ type: 'unsubscribed', id: 'a' }]);
    expect([endpoint.hub.subscriptions, endpoint.hub.topics]).toEqual([0, 0]);
  });

  it('whose client goes before it was looked up leaves nothing behind', async () => {
    const socket = await endpoint.client();
    let looked = () => {};
    const asked = new Promise<void>((resolve) => {
      endpoint.look = () =>
        new Promise((found) => {
          looked = found;
          resolve();
        });
    });
    socket.send({ type: 'subscribe', id: 'a', topic: 'messages' });
    await asked;
    socket.terminate();
    await endpoint.seen.next('session.closed');
    looked();
    await settle(await endpoint.client());
    expect([endpoint.hub.subscriptions, endpoint.hub.topics, endpoint.hub.sessions]).toEqual([0, 0, 1]);
  });

  it('needs an id of its own, and room', async () => {
    const socket = await endpoint.subscriber('messages', 'rooms', 'rooms:insert');
    socket.send({ type: 'subscribe', id: 'rooms', topic: 'messages' });
    expect(await socket.next('error')).toMatchObject({ code: 'duplicate_id', id: 'rooms' });
    socket.send({ type: 'subscribe', id: 'd', topic: 'rooms:delete' });
    expect(await socket.next('error')).toMatchObject({ code: 'limit_exceeded', id: 'd' });
    expect(endpoint.hub.subscriptions).toBe(3);
    socket.send({ type: 'unsubscribe', id: 'rooms' });
    socket.send({ type: 'subscribe', id: 'd', topic: 'rooms:delete' });
    expect(await socket.next('subscribed')).toMatchObject({ topic: 'public.rooms:delete' });
  });

  it('goes with its session', async () => {
    const socket = await endpoint.subscriber('messages', 'rooms');
    await socket.close(1000, 'enough');
    expect(await endpoint.seen.next('session.closed')).toMatchObject({ code: 1000, reason: 'enough' });
    expect([endpoint.hub.subscriptions, endpoint.hub.topics, endpoint.hub.sessions]).toEqual([0, 0, 0]);
  });
});

describe('a client that errs', () => {
  it('is sent away after ten bad frames in a row', async () => {
    const socket = await endpoint.client();
    for (let n = 1; n < 10; n++) socket.sendRaw('no JSON');
    await settle(socket);
    for (let n = 1; n <= 10; n++) socket.sendRaw('[]');
    expect(await socket.closed).toEqual({ code: 4400, reason: '10 bad frames in a row' });
    const told = socket.frames.filter(({ code }) => code === 'bad_frame');
    expect(told).toHaveLength(19);
    // The last, and no other, says that it is.
    const ends = told.filter(({ message }) => String(message).endsWith('; this connection ends'));
    expect(ends).toEqual([told.at(-1)]);
  });

  it('is not sent away for frames that can be read, whatever they are answered', async () => {
    let asked = 0;
    const other = await startEndpoint({
      limits: { maxSubscriptions: 12 },
      catchUp: async () => {
        asked++;
        await until(() => asked === 12, { what: 'all have been read' });
        throw new ProtocolError('bad_frame', 'the order cannot be used');
      },
    });
    try {
      const socket = await other.client();
      const operations = ['insert', 'update', 'delete', 'insert,update', 'insert,delete', 'update,delete'];
      const topics = ['messages', 'rooms'].flatMap((table) => operations.map((ops) => `${table}:${ops}`));
      for (const topic of topics)
        socket.send({ type: 'subscribe', id: topic, topic, snapshot: { order: 'nothing' } });
      await until(() => told(socket).length === 12, { what: 'all are answered' });
      const message = 'the order cannot be used';
      const answers = topics.map((id) => ({ type: 'error', id, code: 'bad_frame', message }));
      expect(new Set(told(socket))).toEqual(new Set(answers));
      await settle(socket);
    } finally {
      other.close();
    }
  });

  it('is refused what goes past its rate, and sent away when it goes on', async () => {
    const socket = await endpoint.client();
    for (let n = 0; n < 21; n++) socket.send({ type: 'ping' });
    expect(await socket.next('error')).toMatchObject({ code: 'rate_limited' });
    expect(socket.frames.filter(({ type }) => type === 'pong')).toHaveLength(20);
    endpoint.nowMs += 1_050;
    for (let n = 0; n < 41; n++) socket.send({ type: 'ping' });
    expect(await socket.closed).toMatchObject({ code: 4429 });
    expect(socket.frames.filter(({ type }) => type === 'pong')).toHaveLength(40);
    expect(socket.frames.filter(({ code }) => code === 'rate_limited')).toHaveLength(22);
  });
});

describe('catching up', () => {
  it('holds heartbeats back until it is done, and a bug in it is told and ends it', async () => {
    let finish = (_: 'live' | 'bug') => {};
    const other = await startEndpoint({
      async catchUp(client, subscription, request) {
        client.send(JSON.stringify({ type: 'subscribed', ...request }));
        const how = await new Promise<'live' | 'bug'>((resolve) => {
          finish = resolve;
        });
        if (how === 'bug') throw new TypeError('x is undefined');
        client.send(JSON.stringify({ type: 'live', cursor: client.goLive(subscription) }));
      },
    });
    try {
      const socket = await other.client();
      for (const how of ['live', 'bug'] as const) {
        socket.send({
          type: 'subscribe',
          id: how,
          topic: how === 'live' ? 'messages' : 'rooms',
          since: 'c9',
        });
        expect(await socket.next('subscribed')).toMatchObject({ since: 'c9' });
        other.hub.beat();
        await settle(socket);
        const before = socket.frames.filter(({ type }) => type === 'cursor').length;
        expect(before).toBe(how === 'live' ? 0 : 1);
        finish(how);
        if (how === 'live') expect(await socket.next('live')).toMatchObject({ cursor: 'c0' });
        else expect(await socket.next('error')).toMatchObject({ code: 'internal', id: 'bug' });
        other.hub.beat();
        await socket.next('cursor');
      }
      expect(await other.seen.next('session.failed')).toMatchObject({ error: 'x is undefined' });
      expect(other.hub.subscriptions).toBe(1);
      other.commit([inserted(1)]);
      await socket.next('change');
    } finally {
      other.close();
    }
  });
});

describe('another token', () => {
  it('holds for what is being subscribed to as well', async () => {
    const claimsOf: Record<string, Record<string, string>> = { wide: { team: 'a' }, narrow: {} };
    const scoped = await startEndpoint({
      verify: async (token) => ({
        identity: { user: 'anna', claims: claimsOf[token] ?? {} },
        expiresAtMs: null,
      }),
      filters: async (parsed) => ({ parsed, matcher: { conditions: [], types: '' } }),
    });
    try {
      const table = 'public.ours';
      scoped.tables.set(table, { relation: 9, table, access: 'scoped', scope: { team: 'team' } });
      const socket = await connect(`${scoped.url}?token=wide`);
      await socket.next('welcome');
      let goOn = () => {};
      scoped.look = () => new Promise((resolve) => (goOn = resolve));
      socket.send({ type: 'subscribe', id: 'a', topic: 'ours' });
      socket.send({ type: 'auth', id: 'b', token: 'narrow' });
      await socket.next('authenticated');
      scoped.look = async () => undefined;
      goOn();
      expect(await socket.next('error')).toMatchObject({ id: 'a', code: 'bad_topic' });
      expect(scoped.hub.subscriptions).toBe(0);
      await socket.close();
    } finally {
      scoped.close();
    }
  });
});

describe('when the tables change', () => {
  it('what is no longer to be read ends, and the rest goes on', async () => {
    const socket = await endpoint.subscriber('messages', 'rooms');
    endpoint.tables.delete('public.messages');
    await endpoint.hub.onCatalogChanged();
    expect(await socket.next('error')).toMatchObject({ code: 'bad_topic', id: 'messages' });
    endpoint.commit([inserted(1), inserted(2, 'public.rooms')]);
    expect(await socket.next('change')).toMatchObject({ topic: 'public.rooms' });
    expect(endpoint.hub.subscriptions).toBe(1);
    endpoint.tables.set('public.rooms', {
      relation: 3,
      table: 'public.rooms',
      access: 'authenticated',
      scope: null,
    });
    await endpoint.hub.onCatalogChanged();
    expect(await socket.next('error')).toMatchObject({ code: 'bad_topic', id: 'rooms' });
  });

  it('a look-up that began before is made again', async () => {
    const filtered = await startEndpoint({
      async filters(parsed) {
        // A change while the literals are cast.
        if (filtered.tables.delete('public.rooms')) await filtered.hub.onCatalogChanged();
        return { parsed, matcher: { conditions: [], types: '' } };
      },
    });
    try {
      const other = await filtered.client();
      other.send({ type: 'subscribe', id: 'a', topic: 'rooms?id=eq.1' });
      expect(await other.next('error')).toMatchObject({ code: 'bad_topic', id: 'a' });
    } finally {
      filtered.close();
    }
  });

  it('and cannot be looked up, nothing ends', async () => {
    const socket = await endpoint.subscriber('messages');
    endpoint.look = () => Promise.reject(new ProtocolError('unavailable', 'down'));
    await endpoint.hub.onCatalogChanged();
    endpoint.commit([inserted(1)]);
    await socket.next('change');
    expect(endpoint.hub.subscriptions).toBe(1);
  });
});

async function untilHeld(subscriptions: number): Promise<void> {
  // Microtasks alone: the turn of the event loop stays the same.
  for (let n = 0; n < 100 && endpoint.hub.subscriptions < subscriptions; n++) await Promise.resolve();
  expect(endpoint.hub.subscriptions).toBe(subscriptions);
}
