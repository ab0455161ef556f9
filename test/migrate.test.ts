/** Migrations, applied by the code, by the command line, by psql, and by several at once. */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { applyFile, applyMigrations, migrationState } from '../src/postgres/migrate.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { observations } from './harness/facts.ts';
import { runProgram } from './harness/program.ts';
import { withClient } from './harness/suite.ts';

let database: Database;
beforeEach(async () => {
  database = await createDatabase();
  await database.query('drop schema rowcast cascade');
});
afterEach(() => database.drop());

const files = (await readdir('migrations')).filter((file) => /^\d{3}_/.test(file)).sort();
const names = files.map((file) => file.replace('.sql', ''));
const run = promisify(execFile);
const hasPsql = await run('psql', ['--version']).then(
  () => true,
  () => false,
);

/** As `psql -f` does, or, where there is no psql, as one text on a plain connection. */
async function applyByHand(file: string): Promise<void> {
  const path = join('migrations', file);
  if (hasPsql) await run('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', path, database.url]);
  else await withClient(database.url, async (client) => client.query(await readFile(path, 'utf8')));
}

async function recorded(): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>('select name from rowcast.migration order by 1');
  return rows.map(({ name }) => name);
}

describe('the migrations', () => {
  it('are applied in order, what is recorded already left out', async () => {
    const seen = observations();
    await withClient(database.url, async (client) => {
      expect((await migrationState(client)).missing).toEqual(names);
      await applyByHand(files[0] ?? '');
      expect(await migrationState(client)).toEqual({ missing: names.slice(1), altered: [], newer: null });
      expect(await applyMigrations(client, seen)).toEqual(names.slice(1));
      expect(await applyMigrations(client, seen)).toEqual([]);
      expect(await migrationState(client)).toEqual({ missing: [], altered: [], newer: null });
    });
    expect(seen.all).toEqual(names.slice(1).map((name) => ({ type: 'migration.applied', name })));
    expect(await recorded()).toEqual(names);
  });

  it('are harmless by psql and by the command line, again and again', async () => {
    for (const file of [...files, ...files]) await applyByHand(file);
    const env = { DATABASE_URL: database.url };
    expect(await runProgram(['migrate'], { env })).toMatchObject({ code: 0, stderr: '' });
    for (const file of files) await applyByHand(file);
    expect(await recorded()).toEqual(names);
  });

  const byReadme = hasPsql ? it : it.skip;
  byReadme('are applied by the line of the README, and by nothing else of that folder', async () => {
    const [line] = /^for f in migrations.*$/m.exec(await readFile('README.md', 'utf8')) ?? [];
    await database.query('create table kept (id int primary key)');
    for (const _ of [1, 2]) {
      await run('sh', ['-ec', line ?? 'exit 9'], { env: { ...process.env, DATABASE_URL: database.url } });
      expect(await recorded()).toEqual(names);
    }
    expect((await database.query(`select to_regclass('messages') as demo`)).rows).toEqual([{ demo: null }]);
    const sql = (await readdir('migrations')).filter((file) => file.endsWith('.sql')).sort();
    expect(sql).toEqual(files);
  });

  it('applied in another version are told, and applied again with those after them', async () => {
    for (const file of files) await applyByHand(file);
    const body = `select count(*)::int as n from pg_proc where prosrc like '%older%'`;
    await withClient(database.url, async (client) => {
      for (const [older, name] of [
        [
          `create or replace function rowcast.slot_bytes(slot int2) returns bigint language sql as 'select 0::bigint /* older */'`,
          '002_log',
        ],
        [`comment on column rowcast.presence.since is 'Since it came.'`, '012_presence'],
        ['alter table rowcast.install drop column version', '001_schema'],
        [
          'drop function rowcast.table_shape(regclass); alter table rowcast.relation drop shape',
          '001_schema',
        ],
      ] as const) {
        await client.query(older);
        const state = await migrationState(client);
        expect([state.missing, state.altered[0], state.newer]).toEqual([[], name, null]);
        expect(await applyMigrations(client, observations())).toEqual(names.slice(names.indexOf(name)));
        expect(await migrationState(client)).toEqual({ missing: [], altered: [], newer: null });
      }
      expect((await client.query(body)).rows).toEqual([{ n: 0 }]);
    });
  });

  it('of a newer version stay as they are', async () => {
    for (const file of files) await applyByHand(file);
    await withClient(database.url, async (client) => {
      await client.query(`update rowcast.install set version = '10.0.0';
        create or replace function rowcast.slot_bytes(slot int2) returns bigint language sql as 'select 0::bigint'`);
      expect(await migrationState(client)).toEqual({ missing: [], altered: ['002_log'], newer: '10.0.0' });
      expect(await applyMigrations(client, observations())).toEqual([]);
      expect((await client.query('select version from rowcast.install')).rows).toEqual([
        { version: '10.0.0' },
      ]);
    });
  });

  it('record the version of the package', async () => {
    await applyByHand(files[0] ?? '');
    const { version } = JSON.parse(await readFile('package.json', 'utf8'));
    expect((await database.query('select version from rowcast.install')).rows).toEqual([{ version }]);
  });

  it('may be applied by four at once', async () => {
    const env = { DATABASE_URL: database.url };
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => runProgram(['migrate'], { env })));
    expect(outcomes.map(({ code, stderr }) => [code, stderr])).toEqual(outcomes.map(() => [0, '']));
    expect(await recorded()).toEqual(names);
  });

  it('that PostgreSQL refuses leave the connection usable, and are named', async () => {
    await withClient(database.url, async (client) => {
      await expect(applyFile(client, 'demo/001_messages.sql')).rejects.toThrow(
        /^migrations\/demo\/001_messages\.sql: .*rowcast/,
      );
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    });
  });
});

describe("the demo's table", () => {
  beforeEach(() => withClient(database.url, (client) => applyMigrations(client, observations())));

  it('is made and watched, again and again', async () => {
    for (const _ of [1, 2]) await applyByHand('demo/001_messages.sql');
    await database.query(`insert into messages (content) values ('kept')`);
    await applyByHand('demo/001_messages.sql');
    const { rows } = await database.query('select id, room_id, content from messages');
    expect(rows).toEqual([{ id: '1', room_id: 1, content: 'kept' }]);
    const watched = await database.query('select "table"::text, access, capturing from rowcast.watched');
    expect(watched.rows).toEqual([{ table: 'messages', access: 'public', capturing: true }]);
  });

  it("does not publish somebody's own table of that name", async () => {
    await database.query('create table messages (id int primary key, secret text)');
    await withClient(database.url, async (client) => {
      await expect(applyFile(client, 'demo/001_messages.sql')).rejects.toThrow(
        /is not the demo's.*empty database/,
      );
    });
    expect((await database.query('select * from rowcast.watched')).rows).toEqual([]);
  });
});
