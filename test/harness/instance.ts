/** An instance of rowcast in this process, on a free port. */
import { readConfig } from '../../src/config.ts';
import { PACE, type Pace } from '../../src/leader.ts';
import { type Server, type ServerOptions, startServer } from '../../src/server.ts';
import { observations } from './facts.ts';
import { connect, type Socket } from './socket.ts';

export interface Instance {
  readonly server: Server;
  readonly http: string;
  /** Of its WebSocket endpoint. */
  readonly url: string;
  readonly observed: ReturnType<typeof observations>;
  /** A client that has been welcomed. */
  client(path?: string): Promise<Socket>;
  /** A client that is subscribed to each topic, under the topic as its id. */
  subscriber(...topics: string[]): Promise<Socket>;
  stop(): Promise<void>;
}

/** An instance that lets its writers notify, however many there are. */
export const NEVER_MUTING: Pick<ServerOptions, 'pace'> = {
  pace: {
    ...PACE,
    muteAbove: Number.POSITIVE_INFINITY,
    muteAllAbove: Number.POSITIVE_INFINITY,
    crowd: Number.POSITIVE_INFINITY,
  },
};

/** When an instance mutes at a rate that a test comes to, and soon calms. */
export const SOON_MUTING: Pace = {
  muteAbove: 100,
  backends: 2,
  muteAllAbove: Number.POSITIVE_INFINITY,
  crowd: 2,
  unmuteBelow: 50,
  windowMs: 50,
  calmMs: 100,
  pauseMs: 2,
};

/** Starts an instance on a database; `env` are further settings. */
export async function startInstance(
  databaseUrl: string,
  env: Record<string, string> = {},
  options: Pick<ServerOptions, 'pace'> = {},
): Promise<Instance> {
  const observed = observations();
  const config = readConfig({
    DATABASE_URL: databaseUrl,
    HOST: '127.0.0.1',
    PORT: '0',
    ROWCAST_DRAIN_MS: '0',
    ...env,
  });
  const server = await startServer(config, { observe: observed.observe, ...options });
  async function client(path = '/ws'): Promise<Socket> {
    const socket = await connect(`${server.url.replace('http', 'ws')}${path}`);
    await socket.next('welcome');
    return socket;
  }

  return {
    server,
    http: server.url,
    url: `${server.url.replace('http', 'ws')}/ws`,
    observed,
    client,
    async subscriber(...topics) {
      const socket = await client();
      for (const topic of topics) {
        socket.send({ type: 'subscribe', id: topic, topic });
        await socket.next('subscribed');
      }
      return socket;
    },
    stop: () => server.stop(),
  };
}
