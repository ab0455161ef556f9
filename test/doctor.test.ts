/** The doctor and the status, on databases that are prepared to be ill in one way each. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { Status } from '../src/cli/status.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { applyMigrations } from './harness/migrations.ts';
import { addressOf, runProgram, startProgram } from './harness/program.ts';
import { startServer } from './harness/server.ts';
import { serverMajor } from './harness/suite.ts';

interface Finding {
  check: string;
  found: string;
  remedy?: string;
}

/** The queue of older versions is 8 GB large. */
const itWithSmallQueue = (await serverMajor()) >= 17 ? it : it.skip;
const releases: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

async function database(): Promise<Database> {
  const made = await createDatabase();
  releases.push(() => made.drop());
  return made;
}

async function examine(
  url: string,
): Promise<{ code: number | null; faults: Finding[]; findings: Finding[] }> {
  const { code, stdout, stderr } = await runProgram(['doctor', '--json'], { env: { DATABASE_URL: url } });
  expect(stderr).toBe('');
  const findings: Finding[] = JSON.parse(stdout);
  return { code, findings, faults: findings.filter(({ remedy }) => remedy !== undefined) };
}

const statements = (remedy = '') => remedy.replace(/^.*?run: /, '');

describe('the doctor finds', () => {
  it('a standby, and looks no further', async () => {
    const server = await startServer();
    releases.push(server.dispose);
    await server.stop();
    await writeFile(join(server.dataDir, 'server', 'cluster', 'standby.signal'), '');
    await server.start();
    const { code, findings } = await examine(server.url);
    expect([code, findings]).toMatchObject([
      1,
      [{ check: 'connection' }, { check: 'primary', remedy: 'set DATABASE_URL to the primary' }],
    ]);
    expect(findings).toHaveLength(2);
  });

  itWithSmallQueue('a queue that is half full, and who keeps it', async () => {
    const server = await startServer({ max_notify_queue_pages: '64' });
    releases.push(server.dispose);
    const keeper = await server.client();
    releases.push(() => keeper.end());
    await keeper.query(`set application_name = 'the keeper'; listen anything`);
    await keeper.query('begin');
    const { rows } = await keeper.query<{ pid: number }>('select pg_backend_pid() as pid');
    for (let n = 0; n < 36; n++)
      await server.query('select pg_notify($1, $2)', ['anything', `${n} ${'x'.repeat(7_900)}`]);
    const { code, faults } = await examine(server.url);
    expect([code, faults]).toMatchObject([
      1,
      [
        {
          check: 'queue',
          found: expect.stringMatching(/ is [5-9]\d\.\d % full.*oldest.*the keeper, idle in transaction/),
          remedy: expect.stringContaining(`select pg_terminate_backend(${rows[0]?.pid})`),
        },
      ],
    ]);
    await keeper.query('commit');
    // It reads on when it is free again.
    await until(async () => (await examine(server.url)).code === 0, {
      what: 'the queue is read',
      timeoutMs: 30_000,
    });
  });

  it('an older version of a migration, and nothing when a newer one is there', async () => {
    const { url, query } = await database();
    await query(
      `create or replace function rowcast.root(relation oid) returns regclass language sql stable as 'select null::regclass'`,
    );
    const { code, faults } = await examine(url);
    expect([code, faults]).toMatchObject([
      1,
      [
        {
          check: 'migrations',
          found: expect.stringMatching(/another version.*: 003_lines$/),
          remedy: 'run: node dist/cli.js migrate',
        },
      ],
    ]);
    await query(`update rowcast.install set version = '99.0.0'`);
    const { code: well, findings } = await examine(url);
    expect([well, findings]).toMatchObject([
      0,
      expect.arrayContaining([
        expect.objectContaining({ found: expect.stringContaining('newer version, 99.0.0') }),
      ]),
    ]);
    await query(`update rowcast.install set version = '0.0.9'`);
    expect((await runProgram(['migrate'], { env: { DATABASE_URL: url } })).stdout).toMatch(
      /^applied 001_schema\n/,
    );
    expect(await examine(url)).toMatchObject({ code: 0, faults: [] });
  });

  it('a log that came by a dump of another server, which does not serve, and migrations mend', async () => {
    const { url, query } = await database();
    await query(`create table t (id int primary key); select rowcast.watch('t')`);
    await query('insert into t values (1)');
    const token = `select token from rowcast.install`;
    const before = (await query(token)).rows;
    for (const foreign of [
      `update rowcast.log set xid = '999999999999'`,
      `update rowcast.relation set since = '999999999999'`,
      `update rowcast.install set pruned_xid = '999999999999'`,
    ]) {
      await query(foreign);
      const { code, faults } = await examine(url);
      expect([code, faults]).toMatchObject([
        1,
        [{ check: 'log', remedy: expect.stringContaining('begin_anew') }],
      ]);
      const { stderr } = await runProgram(['serve'], { env: { DATABASE_URL: url, PORT: '0' } });
      expect(stderr).toMatch(/^rowcast: the log came by a dump .*; as the owner.*begin_anew/);
      await applyMigrations(url);
      expect(await examine(url)).toMatchObject({ code: 0, faults: [] });
      expect((await query('select from rowcast.log')).rowCount).toBe(0);
    }
    expect((await query(token)).rows).not.toEqual(before);
  });

  it('what was altered since watch, and what follows from it', async () => {
    const { url, query } = await database();
    await query(`
      create table all_of (id int primary key, gone text, named text, typed int);
      create table some_of (id int primary key, shown text, hidden text);
      create table moved (id int primary key); create table grown (id int primary key);
      create table same (id int primary key, n int)`);
    await query(`
      select rowcast.watch('all_of', access => 'public'), rowcast.watch('some_of', columns => '{id,shown}'), rowcast.watch('moved'),
             rowcast.watch('grown'), rowcast.watch('same')`);
    expect((await examine(url)).code).toBe(0);
    await query(`
      alter table all_of drop gone; alter table all_of rename named to called; alter table all_of alter typed type bigint;
      alter table some_of rename shown to seen; alter table some_of drop hidden; alter table some_of add other int;
      alter table moved rename to elsewhere; alter table grown add more int; alter table same alter n set default 7`);
    const { code, faults } = await examine(url);
    expect(code).toBe(1);
    expect(faults).toMatchObject([{ check: 'alterations' }]);
    expect(faults[0]?.found.split('; ')).toEqual([
      'all_of: column gone was dropped: rows come without it, and filters on it have ended',
      'all_of: column named is called called now: rows and filters have it by that name alone',
      'all_of: column typed was integer and is bigint: values come as that, and filters on it have ended',
      'elsewhere: it was public.moved: subscriptions to that name have ended, and topics are under the new one',
      'grown: column more was added: it is published, as all are',
      'some_of: column shown is called seen now: rows and filters have it by that name alone',
    ]);
    const settings =
      'select "table"::text, columns, all_columns, key, access, scope from rowcast.watched order by 1';
    const before = (await query(settings)).rows;
    await query(statements(faults[0]?.remedy));
    expect((await query(settings)).rows).toEqual(before);
    const { code: well, findings } = await examine(url);
    expect([well, findings.find(({ check }) => check === 'alterations')?.found]).toEqual([
      0,
      'grown: column more was added: it is published, as all are',
    ]);
  });

  it('a child that inherits since, and says of partitions what is not seen', async () => {
    const { url, query } = await database();
    await query(`
      create table parent (id int primary key); create table early () inherits (parent);
      create table parts (id int primary key) partition by range (id); create table first partition of parts for values from (0) to (9)`);
    await query(`select rowcast.watch('parent'), rowcast.watch('parts')`);
    expect((await examine(url)).code).toBe(0);
    await query(`create table late () inherits (parent); create table second partition of parts default`);
    const { code, faults } = await examine(url);
    expect([code, faults]).toMatchObject([
      1,
      [
        {
          check: 'triggers',
          found: expect.stringMatching(/^missing on late, .*lost; a TRUNCATE of second alone/),
        },
      ],
    ]);
    await query(statements(faults[0]?.remedy));
    expect((await examine(url)).findings.find(({ check }) => check === 'triggers')).toEqual({
      check: 'triggers',
      found:
        'in place and enabled on all watched tables; a TRUNCATE of second alone would not be seen, until watch is called again',
    });
  });
});

describe('the status', () => {
  const statusOf = async (url: string): Promise<Status> =>
    JSON.parse((await runProgram(['status', '--json'], { env: { DATABASE_URL: url } })).stdout);

  it('tells of the log, of a NOTIFY, and of the instances and who leads', async () => {
    const { url, query } = await database();
    await query(`create table t (id int primary key, x text); select rowcast.watch('t')`);
    await query(`insert into t select n, repeat('x', 1000) from generate_series(1, 1000) n`);
    const alone = await statusOf(url);
    expect(alone).toMatchObject({
      fleet: { instances: 0, leaderPid: null, muted: false },
      notifyMs: expect.any(Number),
      log: { reachesBackTo: expect.stringMatching(/Z$/) },
    });
    expect(alone.log.bytesPerSecond).toBeGreaterThan(0);
    const programs = [0, 1].map(() =>
      startProgram(['serve'], { env: { DATABASE_URL: url, PORT: '0', ROWCAST_DRAIN_MS: '0' } }),
    );
    releases.push(() => {
      for (const program of programs) program.kill('SIGKILL');
      return Promise.all(programs.map(({ ended }) => ended));
    });
    await Promise.all(programs.map(addressOf));
    const led = await until(
      async () => {
        const found = await statusOf(url);
        return found.fleet.instances === 2 && found.fleet.leaderPid !== null && found;
      },
      { what: 'two instances, one of which leads', timeoutMs: 30_000 },
    );
    expect(led.fleet).toEqual({ instances: 2, leaderPid: expect.any(Number), muted: false });
    const { stdout } = await runProgram(['status'], { env: { DATABASE_URL: url } });
    expect(stdout).toMatch(/Log: [\d.]+ .?i?B, [\d.]+ .?i?B a second, back to .*Z/);
    expect(stdout).toMatch(
      /A NOTIFY: heard after [\d.]+ ms\nInstances: 2, led by that of pid \d+\nConnections: /,
    );
  });
});
