/** Limits on where clients come from, and on those who never say anything. */
import { connect as connectSocket, type Socket as NetSocket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { clientOf } from '../src/transports/address.ts';
import { type Endpoint, startEndpoint } from './harness/endpoint.ts';
import { until } from './harness/facts.ts';
import { connect } from './harness/socket.ts';

let endpoint: Endpoint | undefined;
afterEach(() => endpoint?.close());

describe('the address of a client', () => {
  it.each([
    ['127.0.0.1', '', 0, '127.0.0.1'],
    ['127.0.0.1', '1.2.3.4', 0, '127.0.0.1'],
    ['0000:0000:0000:0000:0000:ffff:7f00:0001', '', 0, '127.0.0.1'],
    ['::ffff:1.2.3.4', '', 0, '1.2.3.4'],
    ['2001:0db8:0000:0001:0000:0000:0000:0001', '', 0, '2001:db8:0:1::/64'],
    ['2001:db8:0:1::ff', '', 0, '2001:db8:0:1::/64'],
    ['::1', '', 0, '0:0:0:0::/64'],
    ['10.0.0.1', '6.6.6.6, 1.2.3.4', 1, '1.2.3.4'],
    ['10.0.0.1', '6.6.6.6, 1.2.3.4, 10.0.0.2', 2, '1.2.3.4'],
    ['10.0.0.1', '1.2.3.4:5678', 1, '1.2.3.4'],
    ['10.0.0.1', '[2001:db8::1]:5678', 1, '2001:db8:0:0::/64'],
    ['10.0.0.1', '', 1, '10.0.0.1'],
    ['10.0.0.1', '1.2.3.4', 2, '10.0.0.1'],
  ])('of %s with "%s" behind %d proxies is %s', (peer, forwarded, proxies, address) => {
    expect(clientOf(peer, forwarded, proxies)).toBe(address);
  });
});

/** What answers a handshake with these header lines, until the connection ends. */
async function handshake(url: string, lines: string[]): Promise<string> {
  const socket = connectSocket(Number(new URL(url).port), '127.0.0.1');
  const head = [
    'GET /ws HTTP/1.1',
    'Host: 127.0.0.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ...lines,
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer;
}

describe('connections from one address', () => {
  it('are as many as they may be, whatever they say of themselves', async () => {
    endpoint = await startEndpoint({ limits: { maxConnectionsPerIp: 2 }, trustProxy: 1 });
    const { url, hub } = endpoint;
    const from = (forwarded: string) => connect(url, { headers: { 'x-forwarded-for': forwarded } });
    const first = await from('1.2.3.4');
    await (await from('6.6.6.6, 1.2.3.4')).next('welcome');
    const third = await from('7.7.7.7, 1.2.3.4');
    expect(await third.closed).toMatchObject({ code: 4429 });
    expect(third.frames).toMatchObject([{ type: 'error', code: 'limit_exceeded' }]);
    // A proxy may add a line of its own.
    const lines = ['9.9.9.9', '1.2.3.4'].map((address) => `X-Forwarded-For: ${address}`);
    expect(await handshake(url, lines)).toContain('limit_exceeded');
    await (await from('1.2.3.4, 5.6.7.8')).next('welcome');
    await first.close();
    await until(() => hub.sessions === 2, { what: 'the first is gone' });
    await (await from('1.2.3.4')).next('welcome');
  });
});

describe('connections that never come to a handshake', () => {
  it('are ended, a thousand of them as well, and keep nobody out meanwhile', async () => {
    endpoint = await startEndpoint();
    const { port } = new URL(endpoint.url);
    const open: NetSocket[] = [];
    let ended = 0;
    for (let n = 0; n < 1_000; n++) {
      const socket = connectSocket(Number(port), '127.0.0.1');
      socket.on('error', () => undefined);
      socket.on('close', () => ended++);
      // Half of them say nothing, half of them half a handshake.
      if (n % 2 === 0) socket.write('GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n');
      open.push(socket);
    }
    try {
      await (await connect(endpoint.url)).next('welcome');
      expect(endpoint.hub.sessions).toBe(1);
      await until(() => ended === open.length, { timeoutMs: 30_000, what: 'all are ended' });
    } finally {
      for (const socket of open) socket.destroy();
    }
  });
});
