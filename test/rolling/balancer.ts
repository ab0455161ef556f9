/**
 * A load balancer as small as it can be: TCP alone, each connection to the ready instance that has the fewest. It asks
 * `/readyz`, and leaves the connections to an instance that is not ready as they are.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface Balancer {
  readonly port: number;
  /** An instance, by the URL at which it answers. */
  add(url: string): void;
  remove(url: string): void;
  /** Whether the instance was ready when it was asked last. */
  isReady(url: string): boolean;
  close(): void;
}

interface Instance {
  readonly port: number;
  ready: boolean;
  connections: number;
}

const ASK_MS = 50;

/** Starts one, without instances. */
export async function startBalancer(): Promise<Balancer> {
  const instances = new Map<string, Instance>();
  const sockets = new Set<Socket>();

  function lead(near: Socket): void {
    const [chosen] = [...instances.values()]
      .filter(({ ready }) => ready)
      .sort((a, b) => a.connections - b.connections);
    if (chosen === undefined) {
      near.destroy();
      return;
    }
    chosen.connections++;
    const far = connect({ port: chosen.port, host: '127.0.0.1' });
    far.on('close', () => chosen.connections--);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.pipe(to);
      // An error is followed by 'close'.
      from.on('error', () => undefined);
      from.on('close', () => {
        sockets.delete(from);
        // What was written to it last is still sent.
        to.destroySoon();
      });
    }
  }

  const server = createServer(lead);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the balancer has no port');

  const asking = setInterval(() => {
    for (const [url, instance] of instances) {
      fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1_000) }).then(
        async (response) => {
          await response.text();
          instance.ready = response.ok;
        },
        () => {
          instance.ready = false;
        },
      );
    }
  }, ASK_MS);

  return {
    port: address.port,
    add: (url) => void instances.set(url, { port: Number(new URL(url).port), ready: false, connections: 0 }),
    remove: (url) => void instances.delete(url),
    isReady: (url) => instances.get(url)?.ready === true,
    close() {
      clearInterval(asking);
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
