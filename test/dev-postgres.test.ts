import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { type Postgres, type PostgresOptions, startPostgres } from '../src/dev/postgres.ts';
import { until } from './harness/facts.ts';
import { withClient } from './harness/suite.ts';

const releases: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

async function start(options?: PostgresOptions): Promise<Postgres> {
  const postgres = await startPostgres(options);
  releases.push(postgres.dispose);
  return postgres;
}

async function folder(mode = 0o755): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'rowcast-test-'));
  await chmod(made, mode);
  releases.push(() => rm(made, { recursive: true, force: true }));
  return join(made, 'data');
}

function ask(postgres: Postgres, sql: string): Promise<unknown> {
  return withClient(
    postgres.url,
    async (client) => (await client.query({ text: sql, rowMode: 'array' })).rows,
  );
}

describe('startPostgres', () => {
  it('is an ordinary server: UTF-8, C.UTF-8, UTC, loopback alone, with the settings asked for', async () => {
    const lines: string[] = [];
    const postgres = await start({ settings: { max_connections: '17' }, onLog: (line) => lines.push(line) });
    const names = [
      'server_encoding',
      'listen_addresses',
      'unix_socket_directories',
      'TimeZone',
      'max_connections',
    ];
    for (const [index, value] of ['UTF8', '127.0.0.1', '', 'UTC', '17'].entries()) {
      expect(await ask(postgres, `show "${names[index]}"`)).toEqual([[value]]);
    }
    expect(await ask(postgres, `select current_user::text, current_database()::text, upper('é')`)).toEqual([
      ['postgres', 'postgres', 'É'],
    ]);
    expect(lines.join('\n')).toContain('ready to accept connections');
  });

  it('lets nobody in without the password', async () => {
    const { port } = await start();
    const client = new pg.Client({ host: '127.0.0.1', port, user: 'postgres', password: 'guess' });
    await expect(client.connect()).rejects.toThrow(/password authentication failed/);
    await client.end();
  });

  it('stops, starts again on the same port with the same data, and survives a crash', async () => {
    const postgres = await start();
    await ask(postgres, 'create table t (n int)');
    for (const mode of ['smart', 'fast', 'immediate'] as const) {
      const { pid } = postgres;
      await ask(postgres, 'insert into t values (1)');
      await postgres.stop(mode);
      expect(postgres.pid).toBeUndefined();
      await expect(ask(postgres, 'select 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      await postgres.start();
      expect(postgres.pid).not.toBe(pid);
    }
    expect(await ask(postgres, 'select count(*)::int from t')).toEqual([[3]]);
  });

  it('keeps the data of a folder that was asked for', async () => {
    const dataDir = await folder();
    const first = await start({ dataDir });
    await ask(first, 'create table kept ()');
    await first.dispose();
    const second = await start({ dataDir });
    expect(second.dataDir).toBe(first.dataDir);
    expect(await ask(second, `select to_regclass('kept')::text`)).toEqual([['kept']]);
  });

  it('finds a place for data that only this user can reach', async () => {
    const dataDir = await folder(0o700);
    const postgres = await start({ dataDir });
    releases.push(async () => {
      await postgres.dispose();
      await rm(postgres.dataDir, { recursive: true, force: true });
    });
    await postgres.stop();
    await postgres.start();
    expect(await ask(postgres, 'select 1')).toEqual([[1]]);
    if (process.getuid?.() !== 0) expect(postgres.dataDir).toBe(dataDir);
  });

  it('refuses a folder in use, and leaves its server alone', async () => {
    const dataDir = await folder();
    const first = await start({ dataDir });
    await expect(startPostgres({ dataDir })).rejects.toThrow(
      new RegExp(`in use by the PostgreSQL with process id ${first.pid}, started by process ${process.pid}`),
    );
    expect(await ask(first, 'select 1')).toEqual([[1]]);
  });

  it("refuses a folder that is not this user's own, and says what helps", async () => {
    const dataDir = await folder();
    await mkdir(dataDir);
    await chmod(dataDir, 0o777);
    await expect(startPostgres({ dataDir })).rejects.toThrow(
      `${dataDir} is not a folder of this user's own: remove it, or start from another folder`,
    );
  });

  it('names a port in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    await expect(startPostgres({ port: address.port })).rejects.toThrow(`port ${address.port} `);
    other.close();
  });

  it('says what the server complained of when it does not start', async () => {
    await expect(startPostgres({ settings: { max_connections: 'many' } })).rejects.toThrow(
      /did not start: invalid value for parameter "max_connections": "many"/,
    );
  });

  it('does not outlive a parent that is killed', async () => {
    const { parent, server, dataDir } = await startElsewhere();
    parent.kill('SIGKILL');
    await until(() => !isAlive(server), { what: 'the server is gone' });
    expect(await ask(await start({ dataDir }), 'select 1')).toEqual([[1]]);
  });

  it('stops a server that was left behind, its guard killed as well', async () => {
    const { parent, server, guard, dataDir } = await startElsewhere();
    process.kill(guard, 'SIGKILL');
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    expect(isAlive(server)).toBe(true);
    expect(await ask(await start({ dataDir }), 'select 1')).toEqual([[1]]);
    await until(() => !isAlive(server), { what: 'the server left behind is gone' });
  });
});

/** A server started by another process; that process, the server's and the guard's ids. */
async function startElsewhere(): Promise<{
  parent: ChildProcess;
  server: number;
  guard: number;
  dataDir: string;
}> {
  const dataDir = await folder();
  // In node_modules, from where the compiled module finds its dependencies.
  const out = await mkdtemp(join(process.cwd(), 'node_modules', '.rowcast-test-'));
  releases.push(() => rm(out, { recursive: true, force: true }));
  const settings = { extends: '../../tsconfig.build.json', compilerOptions: { outDir: '.', noCheck: true } };
  await writeFile(join(out, 'tsconfig.json'), JSON.stringify({ ...settings, include: ['../../src/dev'] }));
  await writeFile(join(out, 'package.json'), '{"type":"module"}');
  await promisify(execFile)(process.execPath, ['node_modules/typescript/bin/tsc', '-p', out]);
  const script = `
    import { startPostgres } from './dev/postgres.js';
    const { pid } = await startPostgres({ dataDir: ${JSON.stringify(dataDir)} });
    console.log(pid);
  `;
  await writeFile(join(out, 'parent.js'), script);
  const parent = spawn(process.execPath, [join(out, 'parent.js')], { stdio: ['ignore', 'pipe', 'inherit'] });
  releases.push(async () => parent.kill('SIGKILL'));
  const [line] = await once(parent.stdout, 'data');
  const server = Number(line);
  const children = await readFile(`/proc/${parent.pid}/task/${parent.pid}/children`, 'utf8');
  const guard = children
    .trim()
    .split(' ')
    .map(Number)
    .find((pid) => pid !== server);
  if (guard === undefined) throw new Error('the server has no guard');
  return { parent, server, guard, dataDir };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // ESRCH: no such process
  }
}
