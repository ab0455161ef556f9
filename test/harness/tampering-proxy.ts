/**
 * A TCP proxy that changes what passes between a client and PostgreSQL, for
 * faults of a session that no network and no SQL from outside can cause.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** The proxy and its faults. */
export interface TamperingProxy {
  /** The given address, by way of the proxy. */
  readonly url: string;
  /** Connections open now. */
  readonly open: number;
  /** How many LISTENs to come are made a syntax error. */
  spoilListens: number;
  /** What is done between the answer to a LISTEN and the next word of its client. */
  afterListen: () => Promise<void>;
  /** Told of each piece that PostgreSQL sent, by its place within its connection, from 1. */
  onAnswer: (piece: number) => void;
  /** Makes the one session forget its channels, unseen by its client. Nothing else may be under way. */
  unlisten(): Promise<void>;
  /** Destroys all sockets. */
  cut(): void;
  /** Cuts and stops for good. */
  close(): Promise<void>;
}

const LISTEN = Buffer.from('LISTEN ');
const UNLISTEN = simpleQuery('UNLISTEN *');
/** CommandComplete "UNLISTEN" and ReadyForQuery. */
const UNLISTENED_BYTES = 14 + 6;

/** Starts a proxy on 127.0.0.1 to the server of that address. */
export async function startTamperingProxy(target: string): Promise<TamperingProxy> {
  const pairs = new Map<Socket, Socket>();
  const url = new URL(target);
  let swallowBytes = 0;
  let swallowed: () => void = () => undefined;

  const server = createServer((near) => {
    const far = connect(Number(url.port), url.hostname);
    let pieces = 0;
    pairs.set(near, far);
    let listened: Promise<void> | undefined;
    near.on('data', async (piece) => {
      await listened;
      far.write(spoil(piece));
      if (piece.includes(LISTEN)) listened = once(far, 'data').then(() => proxy.afterListen());
    });
    far.on('data', (piece) => {
      const skipped = Math.min(swallowBytes, piece.length);
      swallowBytes -= skipped;
      if (skipped > 0 && swallowBytes === 0) swallowed();
      near.write(piece.subarray(skipped));
      proxy.onAnswer(++pieces);
    });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      // An error is followed by 'close', which is where it is passed on.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        other.destroy();
        pairs.delete(near);
      });
    }
  });

  function spoil(piece: Buffer): Buffer {
    const at = piece.indexOf(LISTEN);
    if (proxy.spoilListens === 0 || at < 0) return piece;
    proxy.spoilListens--;
    const spoilt = Buffer.from(piece);
    spoilt.write('LISTEM', at);
    return spoilt;
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const proxied = new URL(target);
  proxied.hostname = '127.0.0.1';
  proxied.port = String(address.port);

  const proxy: TamperingProxy = {
    url: proxied.href,
    spoilListens: 0,
    afterListen: () => Promise.resolve(),
    onAnswer: () => undefined,
    get open() {
      return pairs.size;
    },
    async unlisten() {
      const [far] = pairs.values();
      if (far === undefined || pairs.size !== 1) throw new Error('there is not exactly one session');
      const done = new Promise<void>((resolve) => {
        swallowed = resolve;
      });
      swallowBytes = UNLISTENED_BYTES;
      far.write(UNLISTEN);
      await done;
    },
    cut() {
      for (const pair of pairs) for (const socket of pair) socket.destroy();
    },
    async close() {
      proxy.cut();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}

function simpleQuery(sql: string): Buffer {
  const body = Buffer.from(`${sql}\0`);
  const head = Buffer.alloc(5);
  head.write('Q');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}
