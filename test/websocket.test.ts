/** The WebSocket endpoint and what the hub does to all its clients. */
import { get, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Endpoint, type EndpointOptions, inserted, startEndpoint } from './harness/endpoint.ts';
import { until } from './harness/facts.ts';
import { connect, type Frame, type Socket } from './harness/socket.ts';

let endpoint: Endpoint;
async function start(options: EndpointOptions = {}): Promise<void> {
  endpoint.close();
  endpoint = await startEndpoint(options);
}
beforeEach(async () => {
  endpoint = await startEndpoint();
});
afterEach(() => endpoint.close());

function isAt(frame: Frame, wanted: string): boolean {
  const { cursor } = frame;
  return cursor === wanted;
}

/** The cursors of the changes that a client got. */
function cursorsOf(socket: Socket): unknown[] {
  return socket.frames.filter(({ type }) => type === 'change').map(({ cursor }) => cursor);
}

describe('the handshake', () => {
  it('takes the sub-protocol that it knows, among others or none', async () => {
    for (const protocols of [[], ['rowcast.v1'], ['other', 'rowcast.v1']]) {
      const socket = await endpoint.client({ protocols });
      expect(socket.protocol).toBe(protocols.length > 0 ? 'rowcast.v1' : '');
    }
    await expect(connect(endpoint.url, { protocols: ['other'] })).rejects.toThrow(/no subprotocol/);
  });

  it('lets in the origins of its list, and refuses a page of another with 403', async () => {
    const host = new URL(endpoint.url).host;
    await endpoint.client({ headers: { origin: `http://${host}` } });
    const headers = { origin: 'https://evil.example' };
    await expect(connect(endpoint.url, { headers })).rejects.toThrow('403');
    expect(endpoint.hub.sessions).toBe(1);
    await start({ origins: ['https://*.example.com'] });
    await endpoint.client({ headers: { origin: 'https://app.example.com' } });
  });

  it('takes no more clients than it may, and says so in a way that a browser can read', async () => {
    await start({ limits: { maxConnections: 1 } });
    const first = await endpoint.client();
    const second = await connect(endpoint.url);
    expect(await second.closed).toMatchObject({ code: 4429 });
    const message = 'this instance takes 1 connections; try again after a while; this connection ends';
    expect(second.frames).toEqual([{ type: 'error', code: 'limit_exceeded', message }]);
    await first.close();
    await until(() => endpoint.hub.sessions === 0, { what: 'the first is gone' });
    await endpoint.client();
  });

  it('is asked for by those who only GET', async () => {
    const response = await fetch(endpoint.url.replace('ws:', 'http:'));
    expect([response.status, response.headers.get('upgrade')]).toEqual([426, 'websocket']);
  });
});

describe('frames', () => {
  it('that are too large are refused by the limit, and the connection stays', async () => {
    const socket = await endpoint.client();
    socket.send({ type: 'ping', id: 'p', pad: 'ü'.repeat(1_100) });
    const error = await socket.next('error');
    expect(error).toMatchObject({ code: 'bad_frame', message: expect.stringMatching(/limit is 2048/) });
    socket.send({ type: 'ping', pad: 'x'.repeat(2_000) });
    await socket.next('pong');
  });

  it('that are far too large cut the connection', async () => {
    const socket = await endpoint.client();
    socket.sendRaw('x'.repeat(9_000));
    expect(await socket.closed).toMatchObject({ code: 1006 });
    await endpoint.seen.next('session.closed');
    expect(endpoint.hub.sessions).toBe(0);
  });

  it('that are binary are no protocol', async () => {
    const socket = await endpoint.client();
    socket.sendRaw(new Uint8Array([123, 125]));
    expect(await socket.closed).toMatchObject({ code: 4400, reason: expect.stringContaining('binary') });
    expect(socket.frames.at(-1)).toMatchObject({
      type: 'error',
      code: 'bad_frame',
      message: expect.stringMatching(/binary; this connection ends$/),
    });
  });

  it('that are no JSON, no object or of no known type are refused, and the connection stays', async () => {
    const socket = await endpoint.client();
    for (const text of ['', 'hello', '[]', '{"type":"dance"}', '{}', '\uFEFF{"type":"ping"}']) {
      socket.sendRaw(text);
      expect(await socket.next('error')).toMatchObject({ code: 'bad_frame' });
    }
    socket.send({ type: 'ping' });
    await socket.next('pong');
  });

  it('come through compressed where that is on', async () => {
    await start({ compression: true });
    const socket = await endpoint.subscriber('messages');
    endpoint.commit([inserted(`1${'0'.repeat(10_000)}`)]);
    await socket.next('change');
  });
});

describe('a heartbeat', () => {
  it('reaches every client with the cursor of the feed', async () => {
    const [one, two] = [await endpoint.client(), await endpoint.subscriber('messages')];
    endpoint.skipTo('c77');
    endpoint.hub.beat();
    for (const socket of [one, two]) {
      expect(await socket.next('cursor')).toEqual({ type: 'cursor', cursor: 'c77' });
    }
  });

  it('comes by itself', async () => {
    await start({ limits: { heartbeatMs: 100 } });
    endpoint.hub.start();
    const socket = await endpoint.client();
    await socket.next('cursor');
    await socket.next('cursor');
  });

  it('waits for the end of a commit, whose changes it would count', async () => {
    const socket = await endpoint.subscriber('messages');
    endpoint.commit([inserted(1)], { last: false });
    endpoint.hub.beat();
    endpoint.commit([], { first: false });
    await socket.next('cursor');
    expect(socket.frames.slice(-2)).toMatchObject([
      { type: 'change', cursor: 'c2' },
      { type: 'cursor', cursor: 'c2' },
    ]);
    endpoint.commit([inserted(2)]);
    await socket.next('change', ({ cursor }) => cursor === 'c3');
    expect(socket.frames.filter(({ type }) => type === 'cursor')).toHaveLength(1);
  });
});

describe('a gap in the feed', () => {
  it('resets every live subscription, which goes on', async () => {
    const socket = await endpoint.subscriber('messages', 'rooms');
    endpoint.commit([inserted(1)], { last: false });
    endpoint.skipTo('c500');
    endpoint.hub.onGap('cursor_expired');
    for (const id of ['messages', 'rooms']) {
      expect(await socket.next('reset')).toEqual({
        type: 'reset',
        id,
        topic: `public.${id}`,
        reason: 'cursor_expired',
        cursor: 'c500',
      });
    }
    // The commit that broke off holds no heartbeat back.
    endpoint.hub.beat();
    expect(await socket.next('cursor')).toMatchObject({ cursor: 'c500' });
    endpoint.commit([inserted(2)]);
    expect(await socket.next('change')).toMatchObject({ changes: [{ new: { id: 2 } }] });
    expect(cursorsOf(socket)).toHaveLength(1);
  });
});

describe('a client that does not read', () => {
  const megabyte = inserted(`1${'0'.repeat(1_000_000)}`);

  async function floodOne(): Promise<{ slow: Socket; quick: Socket; sent: string[] }> {
    const [slow, quick] = [await endpoint.subscriber('messages'), await endpoint.subscriber('messages')];
    slow.pause();
    const sent: string[] = [];
    while (!endpoint.seen.all.some(({ type }) => type === 'session.slow')) {
      const cursor = endpoint.commit([megabyte]);
      sent.push(cursor);
      await quick.next('change', (frame) => isAt(frame, cursor));
      endpoint.hub.watch();
    }
    return { slow, quick, sent };
  }

  it('is sent nothing more, while the others go on, and is cut when it goes on', async () => {
    const { slow, quick, sent } = await floodOne();
    expect(endpoint.hub.subscriptions).toBe(1);
    const after = endpoint.commit([inserted(2)]);
    await quick.next('change', ({ cursor }) => cursor === after);
    endpoint.nowMs += 4_999;
    endpoint.hub.watch();
    expect(endpoint.hub.sessions).toBe(2);
    endpoint.nowMs += 1;
    endpoint.hub.watch();
    expect(endpoint.seen.all.at(-1)).toMatchObject({ type: 'session.closed', code: 4408 });
    expect(endpoint.hub.sessions).toBe(1);
    slow.resume();
    expect(await slow.closed).toMatchObject({ code: 1006 });
    // No hole in what it got.
    expect(cursorsOf(slow)).toEqual(sent.slice(0, cursorsOf(slow).length));
    endpoint.commit([inserted(3)]);
    await quick.next('change', ({ cursor }) => cursor !== after);
  });

  it('gets all that was sent before, and then 4408, when it reads again in time', async () => {
    const { slow, sent } = await floodOne();
    endpoint.commit([inserted(2)]);
    endpoint.hub.beat();
    slow.resume();
    await slow.next('change', ({ cursor }) => cursor === sent.at(-1));
    endpoint.hub.watch();
    expect(await slow.closed).toEqual({ code: 4408, reason: 'too slow: connect again and resume' });
    expect(cursorsOf(slow)).toEqual(sent);
    expect(slow.frames.at(-1)).toMatchObject({ type: 'change' });
  });

  it('is found in a burst too, between two looks', async () => {
    const slow = await endpoint.subscriber('messages');
    slow.pause();
    for (let n = 0; n < 100 && endpoint.hub.subscriptions > 0; n++) endpoint.commit([megabyte]);
    expect(await endpoint.seen.next('session.slow')).toMatchObject({ session: 's-1' });
    slow.terminate();
  });
});

describe('draining', () => {
  it('sends clients away at a pace, and takes no new ones', async () => {
    /** Milliseconds into the drain, and how many were left from then on. */
    const left: [number, number][] = [];
    await start({
      async delay(ms) {
        const { sessions } = endpoint.hub;
        if (left.at(-1)?.[1] !== sessions) left.push([Math.round(endpoint.nowMs - 1_000), sessions]);
        endpoint.nowMs += ms;
      },
    });
    const sockets = await Promise.all(Array.from({ length: 3 }, () => endpoint.subscriber('messages')));
    await endpoint.hub.drain(1_000);
    // None within the first tenth, and then evenly to the end.
    expect([...left, [endpoint.nowMs - 1_000, endpoint.hub.sessions]]).toEqual([
      [0, 3],
      [400, 2],
      [700, 1],
      [expect.closeTo(1_000, -0.5), 0],
    ]);
    for (const socket of sockets) {
      expect(await socket.closed).toEqual({
        code: 1001,
        reason: 'the instance is going away: connect again and resume',
      });
    }
    expect([endpoint.hub.sessions, endpoint.hub.topics]).toEqual([0, 0]);
    await expect(connect(endpoint.url)).rejects.toThrow(/503/);
    // A load balancer is told when to ask again.
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    };
    const refused = await new Promise<IncomingMessage>((resolve) => {
      get(endpoint.url.replace('ws:', 'http:'), { headers }, resolve);
    });
    expect([refused.statusCode, refused.headers['retry-after']]).toEqual([503, '1']);
    refused.resume();
  });

  it('keeps the pace with more clients than there are milliseconds', async () => {
    await start({
      limits: { maxConnections: 1_000 },
      async delay(ms) {
        endpoint.nowMs += ms;
      },
    });
    await Promise.all(Array.from({ length: 100 }, () => endpoint.client()));
    await endpoint.hub.drain(20);
    expect([endpoint.hub.sessions, endpoint.nowMs]).toEqual([0, expect.closeTo(1_020, -0.5)]);
  });

  it('takes no longer than until the last client has left, but the time in which that can be seen', async () => {
    let leave = async () => {};
    await start({
      async delay(ms) {
        endpoint.nowMs += ms;
        if (endpoint.nowMs > 2_000) await leave();
      },
    });
    const socket = await endpoint.client();
    leave = async () => {
      await socket.close();
      await until(() => endpoint.hub.sessions === 0, { what: 'the client is gone' });
    };
    await endpoint.hub.drain(60_000);
    // None of the 60 s but the first 6, though the client had left after one.
    expect(endpoint.nowMs).toBeCloseTo(1_000 + 6_000, -1);
    expect(endpoint.hub.draining).toBe(true);
    await endpoint.hub.drain(60_000);
    expect(endpoint.nowMs).toBeCloseTo(1_000 + 2 * 6_000, -1);
  });

  it('tells clients their cursors, so that they lack nothing but what comes while they are away', async () => {
    const quiet = await endpoint.subscriber('messages');
    endpoint.commit([inserted(1, 'public.rooms')]);
    endpoint.skipTo('c7');
    await endpoint.hub.drain(0);
    await quiet.closed;
    expect(quiet.frames.at(-1)).toEqual({ type: 'cursor', cursor: 'c7' });
  });

  it('tells none within a commit, of which something is yet to come', async () => {
    const socket = await endpoint.subscriber('messages');
    endpoint.commit([inserted(1)], { last: false });
    await endpoint.hub.drain(0);
    await socket.closed;
    expect(socket.frames.filter(({ type }) => type === 'cursor')).toEqual([]);
  });

  it('takes no time where none is given', async () => {
    const socket = await endpoint.client();
    await endpoint.hub.drain(0);
    expect(await socket.closed).toMatchObject({ code: 1001 });
  });
});
