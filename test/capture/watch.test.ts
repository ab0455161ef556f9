/** `watch`, `unwatch` and `watched`: what they take, refuse, tell and remove. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';

let database: Database;
let log: Captured;
const notices: string[] = [];
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
  log.writer.on('notice', ({ message }) => notices.push(message ?? ''));
});
afterAll(async () => {
  await log.close();
  await database.drop();
});
beforeEach(async () => {
  await log.writer.query(`
    set client_min_messages = notice; create schema s; set search_path = s; create table t (id int primary key, v text, w int)`);
  notices.length = 0;
});
afterEach(() =>
  log.writer.query('set client_min_messages = error; drop schema s cascade; select rowcast.prune()'),
);

async function watched(): Promise<Record<string, unknown>[]> {
  const { rows } = await log.writer.query(`select * from rowcast.watched order by "table"::text`);
  return rows;
}

describe('watch', () => {
  it('tells running instances, in a commit of its own kind', async () => {
    const commit = await log.one(`select rowcast.watch('t')`);
    expect(commit).toMatchObject({ inline: true, changes: [{ op: 'watch', table: 's.t' }], texts: [''] });
    const both = await log.changes(
      `begin; select rowcast.watch('t'); insert into t values (1); select rowcast.unwatch('t'); insert into t values (2); commit`,
    );
    expect(both.map(({ op }) => op)).toEqual(['watch', 'insert', 'unwatch']);
  });

  it('a table without a key: an error that says what to do', async () => {
    await log.writer.query('create table keyless (a int, b int)');
    await expect(log.writer.query(`select rowcast.watch('keyless')`)).rejects.toMatchObject({
      code: '42P16',
      message: 'rowcast.watch: s.keyless has no primary key, so its rows cannot be told apart',
      hint: expect.stringMatching(/ADD PRIMARY KEY .*rowcast\.watch\('s\.keyless', key => array\['…'\]\)/),
    });
  });

  it('a named key', async () => {
    await log.writer.query('create table keyless (a int not null, b int not null, c int, unique (b, a))');
    await log.writer.query(`select rowcast.watch('keyless', key => '{a,b}')`);
    expect(notices).toEqual([]);
    expect(await log.changes('insert into keyless values (1, 2, 3)')).toMatchObject([
      { key: { a: 1, b: 2 } },
    ]);
    expect(await log.changes('update keyless set c = 4')).toMatchObject([
      { op: 'update', key: { a: 1, b: 2 }, old: { c: 3 } },
    ]);
    await log.writer.query(`select rowcast.watch('keyless', key => '{c}')`);
    expect(notices).toEqual([
      expect.stringMatching(/no unique index makes the key of s.keyless unique/),
      expect.stringMatching(/columns of the key of s.keyless may be null: c;/),
    ]);
    await log.writer.query('insert into keyless values (5, 6, 4)');
    const twins = await log.changes('update keyless set a = a + 10');
    expect(twins.map(({ op, key, old }) => [op, key, old])).toEqual([
      ['update', { c: 4 }, { a: 1 }],
      ['update', { c: 4 }, { a: 5 }],
    ]);
  });

  it.each([
    [`'t', key => '{nope}'`, '42703', /s\.t has no column nope/],
    [`'t', columns => '{id,nope,"No Pe"}'`, '42703', /s\.t has no column nope, "No Pe"/],
    [`'t', columns => '{v}'`, '22023', /the key of s\.t must be among the published columns/],
    [`'t', key => '{}'`, '22023', /names no column/],
    [`'t', key => '{id,id}'`, '22023', /names a column twice/],
    [`'t', access => 'everybody'`, '22023', /'everybody' is none of public, authenticated, scoped/],
    [`'t', access => null`, '22023', /null is none of/],
    [`'t', access => 'scoped'`, '22023', /scoped and a scope go together/],
    [`'t', scope => '{"w":"sub"}'`, '22023', /go together/],
    [`'t', access => 'scoped', scope => '{"nope":"sub"}'`, '42703', /has no column nope/],
    [`'t', access => 'scoped', scope => '{"w":1}'`, '22023', /binds columns to claims/],
    [
      `'t', columns => '{id,v}', access => 'scoped', scope => '{"w":"sub"}'`,
      '22023',
      /must be among the published/,
    ],
    [`'t', columns => '{id,v,v}'`, '22023', /the columns of s\.t name one twice/],
    [`'t', key => array[null]`, '42703', /s\.t has no column null/],
    [`null`, '22004', /no table is named/],
    [`1::oid::regclass`, '42P01', /no table with the oid 1/],
    [`'pg_class'`, '42809', /pg_class is PostgreSQL's own/],
  ])('refuses %s, with a hint', async (args, code, message) => {
    await expect(log.writer.query(`select rowcast.watch(${args})`)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/./),
    });
    expect(await watched()).toEqual([]);
  });

  it('a temporary or unlogged table, a view, a table of its own: refused', async () => {
    await log.writer.query(`
      create temporary table fleeting (id int primary key); create unlogged table loose (id int primary key); create view seen as select * from t`);
    for (const [name, message] of [
      ['fleeting', /fleeting is temporary or unlogged/],
      ['loose', /s\.loose is temporary or unlogged/],
      ['seen', /s\.seen is not a table/],
      ['rowcast.log', /rowcast's own/],
    ] as const) {
      await expect(log.writer.query(`select rowcast.watch('${name}')`)).rejects.toMatchObject({
        code: '42809',
        message: expect.stringMatching(message),
        hint: expect.stringMatching(/./),
      });
    }
    await log.writer.query('drop table fleeting');
  });

  it.each([
    ['schema', 'a\nschema', 't', 'id'],
    ['table', 's', 'a\ttable', 'id'],
    ['column', 's', 'odd', 'a\u0001column'],
  ])('refuses a %s whose name has control characters', async (_what, schema, table, column) => {
    const [quotedSchema, quotedTable, quotedColumn] = [schema, table, column].map(pg.escapeIdentifier);
    const name = `${quotedSchema}.${quotedTable}`;
    await log.writer.query(`
      create schema if not exists ${quotedSchema}; drop table if exists ${name};
      create table ${name} (id int primary key, ${quotedColumn === '"id"' ? 'v' : quotedColumn} int)`);
    const watch = (more = '') => log.writer.query(`select rowcast.watch($1${more})`, [name]);
    await expect(watch()).rejects.toMatchObject({
      code: '42602',
      message: expect.stringContaining(
        JSON.stringify([schema, table, column].find((one) => /[^ -~]/.test(one))),
      ),
      hint: expect.stringMatching(/Rename/),
    });
    if (column !== 'id') await watch(`, columns => '{id}'`);
    if (schema !== 's') await log.writer.query(`drop schema ${quotedSchema} cascade`);
  });

  it('takes the columns of a primary key that makes it unique, not those that its index includes', async () => {
    await log.writer.query(
      `create table covering (id int, v text, primary key (id) include (v)); select rowcast.watch('covering')`,
    );
    expect(await watched()).toMatchObject([{ key: ['id'] }]);
    await log.writer.query(`select rowcast.watch('covering', key => '{id}')`);
    expect(notices).toEqual([]);
  });

  it('called again: the settings change, and every change is still captured once', async () => {
    await log.writer.query(
      `select rowcast.watch('t'); select rowcast.watch('t'); insert into t values (1, 'a', 2)`,
    );
    const before = BigInt(String((await watched())[0]?.['since']));
    await log.writer.query(
      `select rowcast.watch('t', columns => '{id,w}', key => '{id}', access => 'scoped', scope => '{"w":"sub"}')`,
    );
    const [{ since } = {}] = await watched();
    // A column was taken away: nobody resumes to where it was.
    expect(BigInt(String(since))).toBeGreaterThan(before);
    expect(await watched()).toEqual(
      [
        {
          table: 's.t',
          columns: ['id', 'w'],
          all_columns: false,
          key: ['id'],
          access: 'scoped',
          scope: { w: 'sub' },
          since,
          capturing: true,
        },
      ].map((row) => ({ ...row, table: 't' })),
    );
    expect(await log.changes(`update t set v = 'b', w = 3`)).toEqual([
      { op: 'update', table: 's.t', key: { id: 1 }, new: { id: 1, w: 3 }, old: { w: 2 } },
    ]);
    await log.writer.query(`select rowcast.watch('t')`);
    expect(await watched()).toMatchObject([{ since }]);
    expect(await log.changes('delete from t')).toMatchObject([{ old: { id: 1, v: 'b', w: 3 } }]);
  });

  it('rolled back leaves nothing', async () => {
    expect(await log.of(`begin; select rowcast.watch('t'); insert into t values (1); rollback`)).toEqual([]);
    expect(await watched()).toEqual([]);
    expect(await log.of('insert into t values (1)')).toEqual([]);
  });

  it('gives up on a table that is in use, and says so', async () => {
    const other = await database.client();
    await other.query(`begin; insert into s.t values (1)`);
    await expect(log.writer.query(`set lock_timeout = 50; select rowcast.watch('t')`)).rejects.toMatchObject({
      code: '55P03',
    });
    await other.query('rollback');
    await other.end();
    await log.writer.query('reset lock_timeout');
  });
});

describe('watched', () => {
  it('says what is published, by whom it may be read, and whether it is captured', async () => {
    await log.writer.query(`
      create table u (id int primary key); select rowcast.watch('t', access => 'public'), rowcast.watch('u');
      alter table u disable trigger rowcast_update; alter table t add column x int`);
    const rows = await watched();
    expect(rows).toMatchObject([
      {
        table: 't',
        columns: ['id', 'v', 'w', 'x'],
        all_columns: true,
        key: ['id'],
        access: 'public',
        scope: null,
        capturing: true,
      },
      { table: 'u', access: 'authenticated', capturing: false },
    ]);
    expect(rows[0]?.['since']).toMatch(/^\d+$/);
  });
});

describe('unwatch', () => {
  it('ends capture, removes the triggers and tells', async () => {
    await log.writer.query(`select rowcast.watch('t')`);
    const commit = await log.one(`select rowcast.unwatch('t')`);
    expect(commit).toMatchObject({ inline: true, changes: [{ op: 'unwatch', table: 's.t' }] });
    expect(await log.of('insert into t values (1); truncate t')).toEqual([]);
    expect(await watched()).toEqual([]);
    expect((await log.writer.query(`select from pg_trigger where tgrelid = 't'::regclass`)).rows).toEqual([]);
    await expect(log.writer.query(`select rowcast.unwatch(null)`)).rejects.toMatchObject({
      code: '22004',
      message: 'rowcast.unwatch: no table is named',
      hint: expect.stringMatching(/./),
    });
    await expect(log.writer.query(`select rowcast.unwatch('t')`)).rejects.toMatchObject({
      code: '42704',
      message: /s\.t is not watched/,
    });
  });
});

describe('session_replication_role = replica', () => {
  it('writes past the triggers, as it says: nothing is captured', async () => {
    await log.writer.query(`select rowcast.watch('t')`);
    expect(
      await log.of(`begin; set local session_replication_role = replica; insert into t values (1); commit`),
    ).toEqual([]);
    expect(await log.changes('insert into t values (2)')).toHaveLength(1);
  });
});
