/**
 * A pooler in transaction mode, as PgBouncer is: a client's connection is its own, but a session of the server is
 * lent to it for one transaction, the one used last first; a notification that comes to a session on loan to nobody
 * is lost.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import pg from 'pg';

export interface TransactionPooler {
  /** The given address, by way of the pooler. */
  readonly url: string;
  close(): Promise<void>;
}

interface Backend {
  stream: Duplex;
  borrower: Socket | undefined;
}

const SSL_REQUEST = 80_877_103;
const SESSIONS = 2;

/** Starts one on 127.0.0.1 in front of the server of that address. It lets everyone in as that user. */
export async function startTransactionPooler(target: string): Promise<TransactionPooler> {
  const sessions = await Promise.all(
    Array.from({ length: SESSIONS }, async () => {
      const client = new pg.Client({ connectionString: target });
      await client.connect();
      return client;
    }),
  );
  const idle: Backend[] = [];
  const waiting: (() => void)[] = [];
  const clients = new Set<Socket>();

  for (const { connection } of sessions) {
    const { stream } = connection;
    for (const event of ['data', 'end', 'close', 'error']) stream.removeAllListeners(event);
    stream.on('error', () => undefined);
    const backend: Backend = { stream, borrower: undefined };
    idle.push(backend);
    onMessages(stream, false, (type, message) => {
      backend.borrower?.write(message);
      // ReadyForQuery, outside of a transaction: others may have the session.
      if (type === 'Z' && message.at(5) === 'I'.charCodeAt(0)) {
        backend.borrower = undefined;
        idle.push(backend);
        waiting.shift()?.();
      }
    });
  }

  const server = createServer((socket) => {
    clients.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => clients.delete(socket));
    let pending: Buffer[] = [];
    onMessages(socket, true, (type, message) => {
      if (type === '') return socket.write(greeting(message));
      if (type === 'X') return socket.end();
      pending.push(message);
      if (type !== 'Q' && type !== 'S') return undefined;
      const batch = Buffer.concat(pending);
      pending = [];
      return lend(socket, batch);
    });
  });

  function lend(socket: Socket, batch: Buffer): void {
    const own = lent(socket);
    if (own) return void own.stream.write(batch);
    const backend = idle.pop();
    if (backend === undefined) return void waiting.push(() => lend(socket, batch));
    backend.borrower = socket;
    borrowed.add(backend);
    backend.stream.write(batch);
  }

  const borrowed = new Set<Backend>();
  function lent(socket: Socket): Backend | undefined {
    return [...borrowed].find(({ borrower }) => borrower === socket);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the pooler has no port');
  const url = new URL(target);
  url.hostname = '127.0.0.1';
  url.port = String(address.port);

  return {
    url: url.href,
    async close() {
      for (const socket of clients) socket.destroy();
      for (const { connection } of sessions) {
        connection.stream.destroy();
        await once(connection.stream, 'close').catch(() => undefined);
      }
      server.close();
      await once(server, 'close');
    },
  };
}

/** What a client is told when it comes: no TLS, or welcome, with a number to cancel by that is the pooler's own. */
function greeting(message: Buffer): Buffer {
  if (message.readInt32BE(4) === SSL_REQUEST) return Buffer.from('N');
  const auth = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]);
  const key = Buffer.from([0x4b, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1]);
  const ready = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
  return Buffer.concat([auth, key, ready]);
}

/** Calls back for each message; the first ones of a client, until it asked to be let in, have no type. */
function onMessages(
  socket: Duplex,
  fromClient: boolean,
  handle: (type: string, message: Buffer) => unknown,
): void {
  let rest = Buffer.alloc(0);
  let untyped = fromClient;
  socket.on('data', (piece: Buffer) => {
    rest = Buffer.concat([rest, piece]);
    for (;;) {
      const head = untyped ? 0 : 1;
      if (rest.length < head + 4) return;
      const end = head + rest.readInt32BE(head);
      if (rest.length < end) return;
      const message = rest.subarray(0, end);
      rest = rest.subarray(end);
      const type = untyped ? '' : String.fromCharCode(message.at(0) ?? 0);
      if (untyped) untyped = message.readInt32BE(4) === SSL_REQUEST;
      handle(type, message);
    }
  });
}
