/** A pool whose connections end at the worst moment. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { expect, it } from '@jest/globals';
import { createPool } from '../src/postgres/pool.ts';
import { inTransaction } from '../src/postgres/transaction.ts';
import { theSuite } from './harness/suite.ts';

const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');

/** As PostgreSQL says that the backend is terminated. */
function fatal(): Buffer {
  const fields = ['SFATAL', 'VFATAL', 'C57P01', 'Mterminating connection', ''].join('\0');
  const body = Buffer.from(`${fields}\0`, 'latin1');
  const head = Buffer.from('E\0\0\0\0', 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

it('outlives a connection that is terminated in the very packet in which it was ready', async () => {
  const url = new URL(theSuite().adminUrl);
  const target = { host: url.hostname, port: Number(url.port) };
  const server = createServer((near) => {
    const far = connect(target);
    near.pipe(far);
    far.on('data', (piece) => {
      const isReady = piece.subarray(-READY.length).equals(READY);
      near.write(isReady ? Buffer.concat([piece, fatal()]) : piece);
    });
    for (const socket of [near, far]) {
      socket.on('error', () => undefined);
      socket.on('close', () => (socket === near ? far : near).destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  url.hostname = '127.0.0.1';
  url.port = String(address.port);
  const pool = createPool({ connectionString: url.href, applicationName: 'rowcast', max: 1, observe() {} });
  try {
    await expect(inTransaction(pool, (client) => client.query('begin'))).rejects.toThrow();
  } finally {
    await pool.end();
    server.close();
    await once(server, 'close');
  }
});
