/** What the socket of a listening session makes of PostgreSQL's messages, however they are cut. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { createListeningSocket } from '../src/postgres/listening-socket.ts';
import { createListenerBench, type ListenerBench, until } from './harness/listener-bench.ts';

const CHANNEL = 'kanal ü';

interface Heard {
  readonly payload: string;
  readonly sender: number;
  readonly isAlone: boolean;
}

function message(type: string, content: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(content.length + 4, 1);
  return Buffer.concat([head, content]);
}

function notification(payload: string, sender = 7, channel = CHANNEL): Buffer {
  const pid = Buffer.alloc(4);
  pid.writeInt32BE(sender);
  return message('A', Buffer.concat([pid, Buffer.from(`${channel}\0${payload}\0`)]));
}

/** A socket, what came of it, and its server's end, by which each write is one read there. */
async function opened() {
  const heard: Heard[] = [];
  const passed: Buffer[] = [];
  const server = createServer({ noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const socket = createListeningSocket({
    channel: CHANNEL,
    onNotification: (payload, sender, isAlone) => heard.push({ payload, sender, isAlone }),
  });
  socket.on('data', (data: Buffer) => passed.push(data));
  socket.connect(address.port, '127.0.0.1');
  const [peer]: Socket[] = await once(server, 'connection');
  if (peer === undefined) throw new Error('nobody came');
  return {
    heard,
    passed,
    all: () => Buffer.concat(passed).toString('latin1'),
    async write(bytes: Buffer) {
      const before = socket.bytesRead;
      peer.write(bytes);
      await until('it is read', () => socket.bytesRead >= before + bytes.length);
    },
    async close() {
      socket.destroy();
      peer.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

describe('the socket of a listening session', () => {
  it('hands each notification on once, in order, and all else to pg in whole messages', async () => {
    const content = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes));
    const part = fc.oneof(
      fc.record({
        payload: fc.string({ unit: 'grapheme', maxLength: 30 }).filter((text) => !text.includes('\0')),
      }),
      fc.record({ other: fc.tuple(fc.constantFrom('Z', 'D', 'S', 'C'), content) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(part), fc.array(fc.nat(60), { maxLength: 12 }), async (parts, cuts) => {
        const wire = await opened();
        try {
          const first = message('R', Buffer.alloc(4));
          const others = parts.flatMap((one) => ('other' in one ? [message(...one.other)] : []));
          let rest = Buffer.concat([
            first,
            ...parts.map((one) => ('other' in one ? message(...one.other) : notification(one.payload))),
          ]);
          // What says whether TLS follows is one byte; no server sends less of a message.
          for (const cut of [first.length, ...cuts]) {
            if (rest.length === 0) break;
            const length = Math.max(cut, 1);
            await wire.write(rest.subarray(0, length));
            rest = rest.subarray(length);
          }
          if (rest.length > 0) await wire.write(rest);
          const payloads = parts.flatMap((one) => ('payload' in one ? [one.payload] : []));
          expect(wire.heard.map(({ payload }) => payload)).toEqual(payloads);
          expect(wire.all()).toBe(Buffer.concat([first, ...others]).toString('latin1'));
        } finally {
          await wire.close();
        }
      }),
      { numRuns: 60 },
    );
  });

  it('says of a notification whether it came alone, and who sent it', async () => {
    const wire = await opened();
    await wire.write(message('R', Buffer.alloc(4)));
    await wire.write(notification('alone', -3));
    await wire.write(Buffer.concat([notification('one'), notification('two')]));
    await wire.write(Buffer.concat([notification('three'), notification('four').subarray(0, 9)]));
    await wire.write(notification('four').subarray(9));
    await wire.write(notification('none', 7, 'another'));
    expect(wire.heard.map(({ payload, isAlone }) => [payload, isAlone])).toEqual([
      ['alone', true],
      ['one', false],
      ['two', false],
      ['three', false],
      ['four', true],
    ]);
    expect(wire.heard[0]?.sender).toBe(-3);
    expect(wire.passed.at(-1)).toEqual(notification('none', 7, 'another'));
    await wire.close();
  });

  it('leaves all to pg once it was asked for TLS', async () => {
    const wire = await opened();
    await wire.write(Buffer.from('S'));
    await wire.write(notification('sealed'));
    expect(wire.heard).toEqual([]);
    expect(wire.all()).toBe(`S${notification('sealed').toString('latin1')}`);
    await wire.close();
  });
});

describe('a listener by TLS', () => {
  let bench: ListenerBench;
  let place = '';

  beforeAll(async () => {
    bench = await createListenerBench();
    place = await mkdtemp(join(tmpdir(), 'rowcast-tls-'));
  });
  afterAll(async () => {
    await bench?.dispose();
    await rm(place, { recursive: true, force: true });
  });

  it('hears', async () => {
    const [key, cert] = [join(place, 'key.pem'), join(place, 'cert.pem')];
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'];
    await promisify(execFile)('openssl', [...request, '-keyout', key, '-out', cert]);
    const credentials = { key: await readFile(key), cert: await readFile(cert) };
    bench.begin();
    const open: Socket[] = [];
    // Speaks TLS for a server that does not.
    const proxy = createServer((socket) => {
      socket.once('data', () => {
        socket.write('S');
        const inner = new TLSSocket(socket, { isServer: true, ...credentials });
        const server = connect(bench.postgres.port, '127.0.0.1');
        open.push(socket, server);
        for (const end of [socket, inner, server]) end.on('error', () => undefined);
        inner.pipe(server).pipe(inner);
      });
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const address = proxy.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const url = new URL(bench.postgres.url);
    url.port = String(address.port);
    url.searchParams.set('sslmode', 'no-verify');

    const ear = bench.listen({ connectionString: url.href });
    await ear.listener.start();
    for (const payload of ['one', 'two', 'ü'.repeat(3_000)]) await bench.notify(payload);
    await until('all are heard', () => ear.heard.length === 3);
    expect(ear.heard).toEqual(['one', 'two', 'ü'.repeat(3_000)]);
    await bench.end();
    for (const socket of open) socket.destroy();
    proxy.close();
  });
});
