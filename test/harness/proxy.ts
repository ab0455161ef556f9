/**
 * A TCP proxy in front of PostgreSQL, to imitate what a network does.
 *
 * Silence is a black hole: sockets stay open, new ones are taken, and nothing
 * passes either way, not even an end.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** The proxy and its faults. */
export interface Proxy {
  readonly port: number;
  /** Stops forwarding in both directions and keeps all sockets open. */
  silence(): void;
  /** Forwards again, what was held back first. */
  resume(): void;
  /** Destroys all sockets. */
  cut(): void;
  /** Stops listening: new connections are refused. */
  refuse(): Promise<void>;
  /** Listens again, on the same port. */
  accept(): Promise<void>;
  /** Leads new connections to another port. */
  leadTo(port: number): void;
  /** Cuts and stops for good. */
  close(): Promise<void>;
}

/** Starts a proxy on 127.0.0.1 to that port. */
export async function startProxy(port: number): Promise<Proxy> {
  let targetPort = port;
  const pairs = new Set<[Socket, Socket]>();
  let silent = false;
  let ownPort = 0;

  function forward(pair: [Socket, Socket]): void {
    for (const [from, to] of [pair, [pair[1], pair[0]]] as const) {
      from.pipe(to);
      if (from.destroyed) to.destroy();
    }
  }

  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true });
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    for (const [socket, other] of [pair, [far, near]] as const) {
      socket.setNoDelay(true);
      // An error is followed by 'close', which is where it is passed on.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        if (!silent) other.destroy();
        if (other.destroyed) pairs.delete(pair);
      });
    }
    if (!silent) forward(pair);
  });

  async function accept(): Promise<void> {
    if (server.listening) return;
    server.listen(ownPort, '127.0.0.1');
    await once(server, 'listening');
  }

  async function refuse(): Promise<void> {
    // Not waited for: 'close' comes only once the last connection is gone.
    if (server.listening) server.close();
  }

  function cut(): void {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
    pairs.clear();
  }

  await accept();
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  ownPort = address.port;

  return {
    port: ownPort,
    silence() {
      silent = true;
      for (const pair of pairs) {
        for (const socket of pair) socket.unpipe().pause();
      }
    },
    resume() {
      silent = false;
      for (const pair of pairs) forward(pair);
    },
    cut,
    refuse,
    accept,
    leadTo(other) {
      targetPort = other;
    },
    async close() {
      await refuse();
      cut();
    },
  };
}
