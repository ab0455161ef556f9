/** Roles without rights: what they lack is said with the SQL that mends it, and that SQL is enough. */
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { addressOf, runProgram, startProgram } from './harness/program.ts';
import { connect } from './harness/socket.ts';
import { withClient } from './harness/suite.ts';

const releases: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

/** A role that may connect and nothing more, with a name that SQL must quote. */
interface Role {
  /** As SQL spells it. */
  readonly name: string;
  readonly url: string;
}

async function database(): Promise<Database> {
  const made = await createDatabase();
  releases.push(() => made.drop());
  return made;
}

async function role({ url, query }: Database, title = 'App'): Promise<Role> {
  const plain = `rowcast_test ${title} ${randomBytes(6).toString('hex')}`;
  const name = pg.escapeIdentifier(plain);
  await query(`create role ${name} login password 'secret'`);
  releases.push(() => query(`drop owned by ${name} cascade; drop role ${name}`));
  const own = new URL(url);
  own.username = encodeURIComponent(plain);
  own.password = 'secret';
  return { name, url: own.href };
}

async function faultOf(args: string[], url: string): Promise<string> {
  const { code, stderr } = await runProgram(args, { env: { DATABASE_URL: url, PORT: '0' } });
  expect([code, stderr.trim().split('\n').length]).toEqual([1, 1]);
  return stderr.trim();
}

/** The statements that a message ends with. */
function statements(message: string | undefined): string {
  const [, found] = /(?:run|superuser): (.*)$/.exec(message ?? '') ?? [];
  if (found === undefined) throw new Error(`no statements in: ${message}`);
  return found;
}

async function faults(url: string): Promise<{ check: string; found: string; remedy: string }[]> {
  const { stdout } = await runProgram(['doctor', '--json'], { env: { DATABASE_URL: url } });
  const findings: { check: string; found: string; remedy?: string }[] = JSON.parse(stdout);
  return findings.flatMap(({ remedy, ...rest }) => (remedy === undefined ? [] : [{ ...rest, remedy }]));
}

describe('a service whose role does not own rowcast', () => {
  it('is told what it lacks, and serves with exactly that', async () => {
    const shared = await database();
    const { query } = shared;
    const app = await role(shared);
    await query(`
      create schema "The Shop"; create table "The Shop"."Items" (id int primary key, name text);
      select rowcast.watch('"The Shop"."Items"', access => 'public')`);
    const owner = (await query('select current_user::regrole::text as name')).rows[0]?.['name'];
    const expected = [
      `as ${owner}, who owns schema rowcast, run: grant usage on schema rowcast to ${app.name}`,
      `grant select on all tables in schema rowcast to ${app.name}`,
      `grant execute on function rowcast.announce(jsonb), rowcast.attend(integer,jsonb,jsonb), rowcast.enroll(integer), rowcast.forget_absent(integer), rowcast.prune(interval,bigint), rowcast.relay(jsonb) to ${app.name}`,
    ].join('; ');
    for (const command of ['serve', 'status']) {
      const fault = await faultOf([command], app.url);
      expect(fault).toMatch(
        new RegExp(`^rowcast: the role ${app.name} may not use schema rowcast, nor read `),
      );
      expect(fault).toContain(expected);
    }
    const [lacking, ...more] = await faults(app.url);
    expect([lacking, more]).toMatchObject([{ check: 'rights', remedy: expected }, []]);

    await query(statements(lacking?.remedy));
    const [unread, ...others] = await faults(app.url);
    expect([unread, others]).toMatchObject([
      { check: 'snapshots', found: expect.stringContaining('"The Shop"."Items"') },
      [],
    ]);
    await query(statements(unread?.remedy));
    expect(await faults(app.url)).toEqual([]);
    expect(await runProgram(['status'], { env: { DATABASE_URL: app.url } })).toMatchObject({ code: 0 });

    const program = startProgram(['serve'], {
      env: {
        DATABASE_URL: app.url,
        PORT: '0',
        HOST: '127.0.0.1',
        ROWCAST_DRAIN_MS: '0',
        ROWCAST_CHANNELS: 'lobby:join+presence+public',
      },
    });
    releases.push(() => {
      program.kill('SIGKILL');
      return program.ended;
    });
    const address = await addressOf(program);
    const socket = await connect(`${address.replace('http', 'ws')}/ws`);
    socket.send({ type: 'subscribe', id: 'i', topic: 'The Shop.Items?name=neq.none', snapshot: true });
    const { cursor } = await socket.next('live');
    await query(`insert into "The Shop"."Items" values (1, 'one')`);
    expect(await socket.next('change')).toMatchObject({ changes: [{ key: { id: 1 } }] });
    // Too large for a NOTIFY: it is read from the log.
    await query(`insert into "The Shop"."Items" select n, repeat('x', 100) from generate_series(2, 500) n`);
    await socket.next('change', ({ changes }) => JSON.stringify(changes).includes('"id":500'));
    socket.send({ type: 'subscribe', id: 'c', topic: '#lobby' });
    await until(async () => (await query('select from rowcast.presence')).rows.length === 1, {
      what: 'it is in the lobby',
    });
    await socket.close();

    program.kill('SIGTERM');
    const { code, stdout } = await program.ended;
    expect([code, stdout.split('\n').filter((line) => /"level":"(warn|error|fatal)"/.test(line))]).toEqual([
      0,
      [],
    ]);

    // Another instance has nothing in its ring: what was missed comes from the log.
    const again = startProgram(['serve'], {
      env: { DATABASE_URL: app.url, PORT: '0', HOST: '127.0.0.1', ROWCAST_DRAIN_MS: '0' },
    });
    releases.push(() => {
      again.kill('SIGKILL');
      return again.ended;
    });
    const back = await connect(`${(await addressOf(again)).replace('http', 'ws')}/ws`);
    back.send({ type: 'subscribe', id: 'i', topic: 'The Shop.Items', since: cursor });
    await back.next('change', ({ changes }) => JSON.stringify(changes).includes('"id":500'));
    await back.close();
    await withClient(app.url, (client) => client.query('select rowcast.prune()'));
  });

  it('serves without the right to prune, which the doctor misses', async () => {
    const shared = await database();
    const { query } = shared;
    const app = await role(shared);
    await query(
      `grant usage on schema rowcast to ${app.name}; grant select on all tables in schema rowcast to ${app.name}`,
    );
    const program = startProgram(['serve'], {
      env: { DATABASE_URL: app.url, PORT: '0', ROWCAST_DRAIN_MS: '0' },
    });
    await addressOf(program);
    program.kill('SIGTERM');
    await program.ended;
    const [lacking] = await faults(app.url);
    expect(lacking).toMatchObject({
      check: 'rights',
      found: expect.stringMatching(/may not call .*rowcast\.prune/),
    });
    await query(statements(lacking?.remedy));
    expect(await faults(app.url)).toEqual([]);
  });

  it('whose listener is another role: is told of that one too', async () => {
    const shared = await database();
    const ear = await role(shared, 'Ear');
    const env = { DATABASE_URL: shared.url, ROWCAST_LISTEN_URL: ear.url, PORT: '0', ROWCAST_DRAIN_MS: '0' };
    const { code, stderr } = await runProgram(['serve'], { env });
    const said = `the role ${ear.name} may not use schema rowcast`;
    expect([code, stderr]).toEqual([1, expect.stringContaining(said)]);
    expect(await runProgram(['doctor'], { env })).toMatchObject({
      code: 1,
      stdout: expect.stringContaining(said),
    });
    const { query } = shared;
    await query(
      `grant usage on schema rowcast to ${ear.name}; grant select on all tables in schema rowcast to ${ear.name}`,
    );
    const program = startProgram(['serve'], { env });
    await addressOf(program);
    program.kill('SIGTERM');
    await program.ended;
    expect(await runProgram(['doctor'], { env })).toMatchObject({ code: 0 });
  });
});

describe('a role that may not connect', () => {
  it('is told who lets it', async () => {
    const shared = await database();
    const app = await role(shared);
    const name = new URL(shared.url).pathname.slice(1);
    await shared.query(`revoke connect on database ${name} from public`);
    const fault = await faultOf(['status'], app.url);
    expect(fault).toMatch(
      /permission denied for database .*; as the owner of the database, run: grant connect/,
    );
    await shared.query(statements(fault));
    expect(await faultOf(['status'], app.url)).toMatch(/may not use schema rowcast/);
  });
});

describe('what takes the rights of an owner', () => {
  it('migrate: of the database, which may let one make the schema', async () => {
    const shared = await database();
    const app = await role(shared);
    await shared.query('drop schema rowcast cascade');
    const fault = await faultOf(['migrate'], app.url);
    expect(fault).toMatch(
      /^rowcast: migrations\/001_schema\.sql: permission denied for database .*; as .*, who owns the database, run: /,
    );
    await shared.query(statements(fault));
    expect(await runProgram(['migrate'], { env: { DATABASE_URL: app.url } })).toMatchObject({
      code: 0,
      stderr: '',
    });
  });

  it('migrate: of the schema that is there', async () => {
    const shared = await database();
    const [owner, app] = [await role(shared, 'Owner'), await role(shared)];
    await shared.query(
      `alter schema rowcast owner to ${owner.name}; delete from rowcast.migration where name = '010_watch'`,
    );
    expect(await faultOf(['migrate'], app.url)).toMatch(
      new RegExp(
        `; schema rowcast belongs to ${owner.name}: run this as ${owner.name}, or as a superuser: grant ${owner.name} to ${app.name}$`,
      ),
    );
  });

  it('watch and unwatch: of rowcast and of the table', async () => {
    const shared = await database();
    const [keeper, shop, app] = [
      await role(shared, 'Keeper'),
      await role(shared, 'Shop'),
      await role(shared),
    ];
    await shared.query('drop schema rowcast cascade');
    await shared.query(`grant create on database ${new URL(shared.url).pathname.slice(1)} to ${keeper.name}`);
    expect(await runProgram(['migrate'], { env: { DATABASE_URL: keeper.url } })).toMatchObject({ code: 0 });
    await shared.query(`create table items (id int primary key); alter table items owner to ${shop.name}`);

    // Each of the two owners lacks the other's rights.
    const ofKeeper = await faultOf(['watch', 'items'], keeper.url);
    expect(ofKeeper).toMatch(/; table items belongs to .*: run this as /);
    const ofShop = await faultOf(['watch', 'items'], shop.url);
    expect(ofShop).toMatch(/; schema rowcast belongs to .*: run this as /);

    const fault = await faultOf(['watch', 'items'], app.url);
    expect(fault).toMatch(
      /; schema rowcast belongs to .*, table items belongs to .* with the rights of both/,
    );
    await shared.query(
      `grant usage on schema rowcast to ${app.name}; grant select on all tables in schema rowcast to ${app.name}`,
    );
    for (const command of ['watch', 'unwatch']) {
      const both = await faultOf([command, 'items'], app.url);
      expect(both).toContain(
        `schema rowcast belongs to ${keeper.name}, table items belongs to ${shop.name}: run this as a role with the rights of both, or as a superuser: `,
      );
      await shared.query(statements(both));
      const env = { DATABASE_URL: app.url };
      expect(await runProgram([command, 'items'], { env })).toMatchObject({ code: 0, stderr: '' });
      await shared.query(`revoke ${keeper.name}, ${shop.name} from ${app.name}`);
    }
  });
});
