/** What compose.yaml starts: PostgreSQL, two instances, and HAProxy before them. */
import { DockerComposeEnvironment, Wait } from 'testcontainers';
import { type Database, queriesOf } from '../harness/database.ts';
import { IMAGE, inspect } from './docker.ts';

export interface Stack {
  /** HAProxy, by its published port. */
  readonly port: number;
  /** HAProxy for thousands of clients: where the engine's network can be reached, without the engine's own proxy. */
  readonly wide: { host: string; port: number };
  readonly databaseUrl: string;
  readonly query: Database['query'];
  /** The containers, by their ids. */
  readonly instances: readonly string[];
  readonly postgres: string;
  stop(): Promise<void>;
}

const FILES = ['compose.yaml', 'test/containers/compose.test.yaml'];

/** Starts it, with an empty database that has the migrations. `mostPerIp`: of each instance, by default as many as come. */
export async function startStack({ mostPerIp = 0 } = {}): Promise<Stack> {
  const environment = await new DockerComposeEnvironment(process.cwd(), FILES)
    .withEnvironment({ ROWCAST_IMAGE: IMAGE, PUBLIC_PORT: '0', MOST_PER_IP: String(mostPerIp) })
    .withWaitStrategy('postgres-1', Wait.forHealthCheck())
    .withWaitStrategy('rowcast-1-1', Wait.forHealthCheck())
    .withWaitStrategy('rowcast-2-1', Wait.forHealthCheck())
    .withWaitStrategy('haproxy-1', Wait.forHttp('/readyz', 8080))
    .up();
  const postgres = environment.getContainer('postgres-1');
  const databaseUrl = `postgres://postgres:rowcast@127.0.0.1:${postgres.getMappedPort(5432)}/postgres`;
  const { query, end } = queriesOf(databaseUrl);
  const haproxy = environment.getContainer('haproxy-1');
  const port = haproxy.getMappedPort(8080);
  const host = await inspect(haproxy.getId(), '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}');
  const isReached = await fetch(`http://${host}:8080/readyz`, { signal: AbortSignal.timeout(2_000) }).then(
    ({ ok }) => ok,
    () => false,
  );
  return {
    port,
    wide: isReached ? { host, port: 8080 } : { host: '127.0.0.1', port },
    databaseUrl,
    query,
    instances: ['rowcast-1-1', 'rowcast-2-1'].map((name) => environment.getContainer(name).getId()),
    postgres: postgres.getId(),
    async stop() {
      await end();
      await environment.down({ removeVolumes: true });
    },
  };
}
