/** The command line, as a process of its own. */
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect as connectTcp, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { freePort } from '../src/dev/port.ts';
import { startPostgres } from '../src/dev/postgres.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { addressOf, type Outcome, type Program, runProgram, startProgram } from './harness/program.ts';
import { connect } from './harness/socket.ts';
import { theSuite, urlOf, withClient } from './harness/suite.ts';
import { startTransactionPooler } from './harness/transaction-pooler.ts';

const releases: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

async function database(): Promise<Database> {
  const made = await createDatabase();
  releases.push(() => made.drop());
  return made;
}

/** A database without the migrations. */
async function emptyDatabase(): Promise<Database> {
  const made = await database();
  await made.query('drop schema rowcast cascade');
  return made;
}

function start(args: string[], env: Record<string, string>): Program {
  const program = startProgram(args, { env: { PORT: '0', HOST: '127.0.0.1', ...env } });
  releases.push(() => {
    program.kill('SIGKILL');
    return program.ended;
  });
  return program;
}

async function startService(url: string, env: Record<string, string> = {}): Promise<[Program, string]> {
  const program = start(['serve'], { DATABASE_URL: url, ROWCAST_DRAIN_MS: '0', ...env });
  return [program, await addressOf(program)];
}

/** What a fault looks like: its line, nothing else on standard error, and 1. */
function faultOf({ code, stderr }: Outcome): string {
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr).toMatch(/^rowcast: /);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(code).toBe(1);
  return stderr.trim();
}

async function serveFault(env: Record<string, string>): Promise<string> {
  return faultOf(await runProgram(['serve'], { env: { PORT: '0', ...env } }));
}

/** A proxy that makes the server say that it is PostgreSQL 12. */
async function startOldServer(url: string): Promise<string> {
  const version = await withClient(url, async (client) => {
    const { rows } = await client.query<{ number: string }>(
      `select current_setting('server_version_num') as number`,
    );
    return rows[0]?.number ?? '';
  });
  const target = new URL(url);
  const { port, hostname } = target;
  const server = createServer((near) => {
    const far = connectTcp(Number(port), hostname);
    near.pipe(far);
    far.on('data', (piece) =>
      near.write(Buffer.from(piece.toString('latin1').replaceAll(version, '120022'), 'latin1')),
    );
    for (const socket of [near, far]) {
      socket.on('error', () => undefined);
      socket.on('close', () => (socket === near ? far : near).destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  releases.push(() => {
    server.close();
    return once(server, 'close');
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  target.hostname = '127.0.0.1';
  target.port = String(address.port);
  return target.href;
}

describe('a fault of the surroundings is one line, and 1:', () => {
  it.each(['serve', 'migrate', 'watch'])('nobody listens at the address, for %s', async (command) => {
    const args = command === 'watch' ? [command, 'messages'] : [command];
    const env = { DATABASE_URL: 'postgres://app:hunter2@127.0.0.1:1/shop' };
    const fault = faultOf(await runProgram(args, { env }));
    expect(fault).toMatch(/DATABASE_URL.*ECONNREFUSED.*host and port/);
    expect(fault).not.toContain('hunter2');
  });

  it('an unknown host', async () => {
    const fault = await serveFault({ DATABASE_URL: 'postgres://app@no-such-host.invalid/shop' });
    expect(fault).toMatch(/DATABASE_URL.*(ENOTFOUND|EAI_AGAIN)/);
  });

  it('a wrong password', async () => {
    const url = new URL(theSuite().adminUrl);
    url.password = 'hunter2';
    const fault = await serveFault({ DATABASE_URL: url.href });
    expect(fault).toMatch(/DATABASE_URL.*password authentication failed.*user and password/);
    expect(fault).not.toContain('hunter2');
  });

  it('a database that is not there', async () => {
    const fault = await serveFault({ DATABASE_URL: urlOf('rowcast_nowhere', theSuite().adminUrl) });
    expect(fault).toMatch(/"rowcast_nowhere" does not exist.*name/);
  });

  it.each(['serve', 'watch'])('migrations that are missing, for %s', async (command) => {
    const { url } = await emptyDatabase();
    const args = command === 'watch' ? [command, 'messages'] : [command];
    const fault = faultOf(await runProgram(args, { env: { DATABASE_URL: url } }));
    expect(fault).toMatch(/001_schema.*run: node dist\/cli\.js migrate$/);
  });

  it.each(['serve', 'migrate'])('a server older than 13, for %s', async (command) => {
    const { url } = await database();
    const old = await startOldServer(url);
    const fault = faultOf(await runProgram([command], { env: { DATABASE_URL: old, PORT: '0' } }));
    expect(fault).toMatch(/PostgreSQL.*rowcast needs 13 or later/);
  });

  it('a pooler in transaction mode', async () => {
    const { url } = await database();
    const pooler = await startTransactionPooler(url);
    releases.push(pooler.close);
    expect(await serveFault({ DATABASE_URL: pooler.url })).toMatch(/transaction.*ROWCAST_LISTEN_URL/);
    await startService(pooler.url, { ROWCAST_LISTEN_URL: url });
  });

  it('a listener that leads to another database, with both places', async () => {
    const [one, other] = [await database(), await database()];
    const fault = await serveFault({ DATABASE_URL: one.url, ROWCAST_LISTEN_URL: other.url });
    const [from, to] = [one.url, other.url].map((url) => new URL(url).host + new URL(url).pathname);
    expect(fault).toContain(
      `ROWCAST_LISTEN_URL: a NOTIFY sent to ${from} (DATABASE_URL) is not heard at ${to};`,
    );
    expect(fault).toMatch(/let ROWCAST_LISTEN_URL lead to the very server and database of DATABASE_URL/);
  });

  it('a standby, to read or to listen to', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-standby-'));
    releases.push(() => rm(folder, { recursive: true, force: true }));
    await chmod(folder, 0o755);
    const standby = await startPostgres({ dataDir: join(folder, 'data') });
    releases.push(standby.dispose);
    await standby.stop();
    await writeFile(join(standby.dataDir, 'server', 'cluster', 'standby.signal'), '');
    await standby.start();
    expect(await serveFault({ DATABASE_URL: standby.url })).toMatch(/DATABASE_URL: .*standby.*primary/);
    const { url } = await database();
    expect(await serveFault({ DATABASE_URL: url, ROWCAST_LISTEN_URL: standby.url })).toMatch(
      /ROWCAST_LISTEN_URL: cannot LISTEN at 127.0.0.1:\d+\/postgres.*standby.*primary/,
    );
  });

  it('a port in use', async () => {
    const { url } = await database();
    const [, address] = await startService(url);
    const { port } = new URL(address);
    const fault = await serveFault({ DATABASE_URL: url, HOST: '127.0.0.1', PORT: port });
    expect(fault).toMatch(new RegExp(`127.0.0.1:${port}.*in use.*set PORT`));
  });

  it('a migration that PostgreSQL refuses, with its file', async () => {
    const { url, query } = await emptyDatabase();
    await query('create schema rowcast; create view rowcast.install as select 1 as one');
    const fault = faultOf(await runProgram(['migrate'], { env: { DATABASE_URL: url } }));
    expect(fault).toMatch(/migrations\/001_schema\.sql: /);
  });

  it('a table that cannot be watched, with what to do', async () => {
    const { url, query } = await database();
    await query('create table keyless (n int)');
    const env = { DATABASE_URL: url };
    expect(faultOf(await runProgram(['watch', 'keyless'], { env }))).toMatch(
      /^rowcast: public\.keyless has no primary key.*Add one/,
    );
    expect(faultOf(await runProgram(['unwatch', 'keyless'], { env }))).toMatch(/is not watched/);
    const args = ['watch', 'keyless', '--scope', '{id:sub}'];
    expect(faultOf(await runProgram(args, { env }))).toMatch(/--scope is no JSON/);
  });

  it('a table that is not there, with how to name it', async () => {
    const { url, query } = await database();
    await query('create schema shop; create table shop."Orders" (id int primary key)');
    const env = { DATABASE_URL: url };
    for (const [command, name, said] of [
      ['watch', 'nowhere', /^rowcast: there is no table nowhere; name it as SQL does: orders, shop\.orders/],
      ['unwatch', 'nowhere', /^rowcast: there is no table nowhere; name it as SQL does/],
      ['watch', 'orders', /^rowcast: there is no table orders; did you mean shop\."Orders"\?$/],
      ['watch', 'shop.Orders', /^rowcast: there is no table shop\.Orders; did you mean shop\."Orders"\?$/],
      [
        'watch',
        'no.such.where.else',
        /^rowcast: no\.such\.where\.else is no name of a table \(.*\); name it/,
      ],
      ['watch', '"open', /^rowcast: .*"open.*; name it as SQL does/],
      ['watch', ' ', /^rowcast: the table has no name; name it as SQL does/],
    ] as const) {
      expect(faultOf(await runProgram([command, name], { env }))).toMatch(said);
    }
  });

  it('an unknown command or option', async () => {
    expect(faultOf(await runProgram(['serv']))).toMatch(/unknown command 'serv'.*--help/);
    expect(faultOf(await runProgram(['serve', '--port']))).toMatch(/unknown option '--port'/);
  });

  it('broken settings, all of them, a line for each', async () => {
    const { code, stderr } = await runProgram(['serve'], { env: { PORT: 'http', ROWCAST_ORGINS: '*' } });
    expect(code).toBe(1);
    expect(stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/^rowcast: ROWCAST_ORGINS is no setting/),
      expect.stringMatching(/^rowcast: DATABASE_URL is not set/),
      expect.stringMatching(/^rowcast: PORT: "http" must be/),
    ]);
  });
});

describe('serve', () => {
  it('brings a committed row to a socket, and has neither the page nor the form', async () => {
    const { url, query } = await database();
    await query('create table items (id int primary key, name text)');
    await query(`select rowcast.watch('items', access => 'public')`);
    const [, address] = await startService(url);
    const socket = await connect(`${address.replace('http', 'ws')}/ws`);
    socket.send({ type: 'subscribe', id: 'i', topic: 'items' });
    await socket.next('subscribed');
    await query(`insert into items values (1, 'one')`);
    expect(await socket.next('change')).toMatchObject({
      topic: 'public.items',
      changes: [{ op: 'insert', table: 'public.items', key: { id: 1 }, new: { id: 1, name: 'one' } }],
    });
    for (const path of ['/', '/demo/messages']) {
      expect((await fetch(`${address}${path}`)).status).toBe(404);
      expect((await fetch(`${address}${path}`, { method: 'POST', body: '{}' })).status).toBe(404);
    }
    await socket.close();
  });

  it.each(['SIGKILL', 'SIGTERM'] as const)('starts again at once where it ended by %s', async (signal) => {
    const { url } = await database();
    const env = { PORT: String(await freePort()) };
    const [program, address] = await startService(url, env);
    const socket = await connect(`${address.replace('http', 'ws')}/ws`);
    program.kill(signal);
    await program.ended;
    await socket.closed;
    const [, again] = await startService(url, env);
    expect((await fetch(`${again}/readyz`)).status).toBe(200);
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('sends clients away and ends with 0 on %s', async (signal) => {
    const { url } = await database();
    const [program, address] = await startService(url, { ROWCAST_DRAIN_MS: '1000' });
    const socket = await connect(`${address.replace('http', 'ws')}/ws`);
    program.kill(signal);
    await program.said(/"event":"server.draining"/);
    // A load balancer sees it before the first client is sent away.
    expect((await fetch(`${address}/readyz`)).status).toBe(503);
    await expect(connect(`${address.replace('http', 'ws')}/ws`)).rejects.toThrow('503');
    expect(await socket.closed).toMatchObject({ code: 1001 });
    expect(await program.ended).toMatchObject({ code: 0, stderr: '' });
  });

  it('ends at once on a second signal', async () => {
    const { url } = await database();
    const [program, address] = await startService(url, { ROWCAST_DRAIN_MS: '600000' });
    const socket = await connect(`${address.replace('http', 'ws')}/ws`);
    const other = await connect(`${address.replace('http', 'ws')}/ws`);
    program.kill('SIGTERM');
    await program.said(/"event":"server.draining"/);
    program.kill('SIGTERM');
    expect(await program.ended).toMatchObject({ code: 143 });
    await Promise.all([socket.closed, other.closed]);
  });
});

describe('the commands of an operator', () => {
  it('migrate, again and again', async () => {
    const { url } = await emptyDatabase();
    const env = { DATABASE_URL: url };
    expect(await runProgram(['migrate'], { env })).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^applied 001_schema\napplied 002_log\n/),
    });
    expect(await runProgram(['migrate'], { env })).toMatchObject({
      code: 0,
      stdout: 'all migrations were applied already\n',
    });
  });

  it('watch, status and unwatch', async () => {
    const { url, query } = await database();
    await query('create table "Odd Name" (a int, b int, owner text, secret text, primary key (a, b))');
    const env = { DATABASE_URL: url };
    const scope = '{"owner":"sub"}';
    const args = ['watch', '"Odd Name"', '--columns', 'a, b,owner', '--key', 'b,a', '--scope', scope];
    expect(await runProgram(args, { env })).toMatchObject({ code: 0, stderr: '' });
    const { stdout } = await runProgram(['status', '--json'], { env });
    expect(JSON.parse(stdout)).toMatchObject({
      watched: [
        {
          table: '"Odd Name"',
          columns: ['a', 'b', 'owner'],
          allColumns: false,
          key: ['b', 'a'],
          access: 'scoped',
          scope: { owner: 'sub' },
          capturing: true,
        },
      ],
      log: { newestCommitAt: expect.stringMatching(/^\d{4}-.*Z$/), slots: expect.any(Array) },
      queueUsage: 0,
      instances: [],
    });
    expect((await runProgram(['status'], { env })).stdout).toContain('"Odd Name"  key b, a  a, b, owner');
    expect(await runProgram(['unwatch', '"Odd Name"'], { env })).toMatchObject({ code: 0 });
    expect((await query('select * from rowcast.watched')).rows).toEqual([]);
  });

  it('watch and status tell of a key that does not tell rows apart', async () => {
    const { url, query } = await database();
    await query('create table twins (id int)');
    const env = { DATABASE_URL: url };
    const { stdout } = await runProgram(['watch', 'twins', '--key', 'id'], { env });
    expect(stdout.trim().split('\n')).toEqual([
      expect.stringMatching(
        /^warning: no unique index makes the key.*\(CREATE UNIQUE INDEX ON public\.twins \(id\)\.\)$/,
      ),
      expect.stringMatching(
        /^warning: columns of the key.*null.*\(ALTER TABLE public\.twins ALTER COLUMN id SET NOT NULL\.\)$/,
      ),
      expect.stringMatching(/^twins is watched/),
    ]);
    expect((await runProgram(['status'], { env })).stdout).toMatch(
      /twins .* KEY MAY BE NULL {2}KEY NOT UNIQUE\n/,
    );
    expect(JSON.parse((await runProgram(['status', '--json'], { env })).stdout)).toMatchObject({
      watched: [{ table: 'twins', keyFaults: ['nulls', 'twins'] }],
    });
  });

  it('--help lists every setting, --version tells the version', async () => {
    expect((await runProgram(['--help'])).stdout).toMatch(/ROWCAST_LISTEN_URL[\s\S]*ROWCAST_BUS/);
    expect((await runProgram(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('the doctor', () => {
  const check = async (url: string, env: Record<string, string> = {}) => {
    const { code, stdout, stderr } = await runProgram(['doctor', '--json'], {
      env: { DATABASE_URL: url, ...env },
    });
    expect(stderr).toBe('');
    const findings: { check: string; found: string; remedy?: string }[] = JSON.parse(stdout);
    return { code, findings, faults: findings.filter(({ remedy }) => remedy !== undefined) };
  };

  it('finds nothing where all is well', async () => {
    const { url } = await database();
    const { code, findings, faults } = await check(url);
    expect([code, faults]).toEqual([0, []]);
    expect(findings.map((one) => one.check)).toEqual(
      expect.arrayContaining(['connection', 'pooler', 'notifications', 'migrations', 'triggers', 'keys']),
    );
  });

  it('recognises a transaction pooler, and that NOTIFY does not come through', async () => {
    const { url } = await database();
    const pooler = await startTransactionPooler(url);
    releases.push(pooler.close);
    const { code, faults } = await check(pooler.url);
    expect([code, faults]).toMatchObject([1, [{ check: 'pooler' }, { check: 'notifications' }]]);
    expect(await check(pooler.url, { ROWCAST_LISTEN_URL: url })).toMatchObject({ code: 0 });
  });

  /** The statements of a remedy; whoever follows it runs them. */
  const statements = (remedy = '') => remedy.replace(/^.*?run: /, '');

  it('finds a listener in another database', async () => {
    const [one, other] = [await database(), await database()];
    expect(await check(one.url, { ROWCAST_LISTEN_URL: other.url })).toMatchObject({
      code: 1,
      faults: [{ check: 'notifications', remedy: expect.stringContaining('database of DATABASE_URL') }],
    });
  });

  it('finds disabled triggers; its remedy keeps the settings', async () => {
    const { url, query } = await database();
    await query(
      `create table "Quiet One" (id int primary key, "O'Hara" text, hidden int); create table loud (id int primary key)`,
    );
    const scope = `{"O'Hara": "sub"}`;
    await query(
      `select rowcast.watch('"Quiet One"', columns => $1, access => 'scoped', scope => $2), rowcast.watch('loud')`,
      [['id', "O'Hara"], scope],
    );
    const settings =
      'select "table"::text, columns, all_columns, key, access, scope, capturing from rowcast.watched order by 1';
    const before = (await query(settings)).rows;
    await query('alter table "Quiet One" disable trigger rowcast_insert; drop trigger rowcast_begin on loud');
    const { faults } = await check(url);
    expect(faults).toMatchObject([
      { check: 'triggers', found: expect.stringContaining('"Quiet One", loud') },
    ]);
    expect((await query(settings)).rows).not.toEqual(before);
    await query(statements(faults[0]?.remedy));
    expect((await query(settings)).rows).toEqual(before);
    expect(await check(url)).toMatchObject({ code: 0, faults: [] });
  });

  it('finds keys that do not tell rows apart, and what makes them', async () => {
    const { url, query } = await database();
    await query(`
      create table twins ("Id" int, b int not null); create table parts (id int) partition by range (id);
      create table lost (id int primary key); create table fine (id int not null, v int, unique (id) include (v))`);
    await query(`
      select rowcast.watch('twins', key => '{Id,b}'), rowcast.watch('parts', key => '{id}'), rowcast.watch('lost'),
             rowcast.watch('fine', key => '{id}')`);
    const { faults } = await check(url);
    expect(faults).toMatchObject([
      {
        check: 'keys',
        found: expect.stringMatching(
          /^parts: .*null: id; parts: no unique.*\(id\).*; twins: .*null: "Id"; twins: no unique/,
        ),
      },
    ]);
    for (const statement of statements(faults[0]?.remedy).split('; ')) await query(statement);
    expect(await check(url)).toMatchObject({ code: 0, faults: [] });

    await query('alter table lost drop column id');
    const dropped = (await check(url)).faults;
    expect(dropped).toMatchObject([{ check: 'keys', found: expect.stringContaining('lost: ') }]);
    await query(/or: (select rowcast\.unwatch\('lost'\))$/.exec(dropped[0]?.remedy ?? '')?.[1] ?? '');
    expect(await check(url)).toMatchObject({ code: 0, faults: [] });
  });

  it('finds missing migrations and a database that cannot be reached', async () => {
    const { url } = await emptyDatabase();
    expect((await check(url)).faults).toMatchObject([
      { check: 'migrations', remedy: 'run: node dist/cli.js migrate' },
    ]);
    expect((await check('postgres://app@127.0.0.1:1/shop')).faults).toMatchObject([
      { check: 'connection', remedy: expect.stringContaining('host and port') },
    ]);
  });
});
