/** What compose.yaml starts, as a client sees it through HAProxy. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { connect } from '../harness/socket.ts';
import { docker } from './docker.ts';
import { type Stack, startStack } from './stack.ts';

const MOST_PER_IP = 5;

describe('what compose.yaml starts', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack({ mostPerIp: MOST_PER_IP });
    await stack.query(
      `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
    );
  });
  afterAll(() => stack.stop());

  const url = () => `ws://127.0.0.1:${stack.port}/ws`;

  it('pushes what is committed to a client of HAProxy', async () => {
    const socket = await connect(url(), { headers: { origin: `http://127.0.0.1:${stack.port}` } });
    socket.send({ type: 'subscribe', id: 'a', topic: 'item' });
    await socket.next('subscribed');
    await stack.query('insert into item values (1)');
    expect(await socket.next('change')).toMatchObject({ changes: [{ op: 'insert', new: { id: 1 } }] });
    await socket.close();
  });

  it('spreads clients over the instances', async () => {
    const sockets = await Promise.all(Array.from({ length: 4 }, () => connect(url())));
    for (const instance of stack.instances) {
      const ask = `fetch('http://127.0.0.1:8080/metrics').then((response) => response.text()).then(console.log)`;
      expect(await docker('exec', instance, 'node', '-e', ask)).toMatch(/^rowcast_sessions 2$/m);
    }
    for (const socket of sockets) await socket.close();
  });

  it('knows clients by their addresses, whatever they say that these are', async () => {
    const all = Array.from({ length: 2 * MOST_PER_IP + 1 }, (_, n) => `192.0.2.${n}`);
    const sockets = await Promise.all(
      all.map((address) => connect(url(), { headers: { 'x-forwarded-for': address } })),
    );
    expect(await Promise.race(sockets.map(({ closed }) => closed))).toMatchObject({ code: 4429 });
    for (const socket of sockets) await socket.close();
  });

  it('keeps from the world what services and Prometheus ask for', async () => {
    for (const path of ['/metrics', '/sessions', '/publish', '/sessions/x']) {
      expect((await fetch(`http://127.0.0.1:${stack.port}${path}`)).status).toBe(403);
    }
  });

  it('refuses no handshake while an instance stops', async () => {
    const [first = ''] = stack.instances;
    let stopped = false;
    const stopping = docker('stop', '--time', '20', first).then(() => {
      stopped = true;
    });
    let handshakes = 0;
    for (; !stopped; handshakes++) await (await connect(url())).close();
    await stopping;
    expect(handshakes).toBeGreaterThan(10);
    await docker('start', first);
  });
});
