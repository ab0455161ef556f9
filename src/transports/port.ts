/** The port: had by nobody else before an instance starts, and listened on once it is up. */
import uWS, { type us_listen_socket } from 'uWebSockets.js';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Config } from '../config.ts';
import { reasonOf } from '../observation.ts';
import { StartError } from '../start-error.ts';

type Address = Pick<Config, 'host' | 'port'>;

/**
 * Throws a `StartError` where somebody has the port: uWebSockets.js would share it with him, and take half of the
 * clients.
 */
export async function claimPort({ host, port }: Address): Promise<void> {
  if (port === 0) return;
  const probe = createServer();
  try {
    probe.listen({ host, port, exclusive: true });
    await once(probe, 'listening');
  } catch (error) {
    throw new StartError(`cannot listen on ${host}:${port}: ${reasonOf(error)}; set PORT or HOST`, {
      cause: error,
    });
  } finally {
    probe.close();
  }
}

/** Listens; gives the port. Rejects with a `StartError`. */
export function listen(app: uWS.TemplatedApp, { host, port }: Address): Promise<number> {
  return new Promise((resolve, reject) => {
    app.listen(host, port, (socket: us_listen_socket | false) => {
      if (socket) resolve(uWS.us_socket_local_port(socket));
      else reject(new StartError(`cannot listen on ${host}:${port}; set PORT or HOST`));
    });
  });
}
