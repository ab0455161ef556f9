/** Finding a free port on 127.0.0.1 that stays ours while the server is down. */
import { once } from 'node:events';
import { createServer } from 'node:net';

// Below what systems give to outgoing connections and to listeners without a
// wish, so that a server that is restarted finds its port free.
const FIRST = 20_000;
const COUNT = 12_000;
const TRIES = 50;

/** A port on which nobody listens now. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port found between ${FIRST} and ${FIRST + COUNT}`);
}

/** Whether one can listen on the port of 127.0.0.1. */
export async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  const outcome = once(probe, 'listening').then(
    () => true,
    () => false,
  );
  probe.listen(port, '127.0.0.1');
  const free = await outcome;
  if (free) {
    probe.close();
    await once(probe, 'close');
  }
  return free;
}
