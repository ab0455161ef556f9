/** Names of every kind, and tables that are altered after `watch`. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';

let database: Database;
let log: Captured;
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
});
afterAll(async () => {
  await log.close();
  await database.drop();
});
beforeEach(() =>
  log.writer.query(`
    create schema s; set search_path = s; create table t (id int primary key, v text, w int);
    select rowcast.watch('t'); insert into t values (1, 'a', 5)`),
);
afterEach(() => log.writer.query('set client_min_messages = warning; drop schema s cascade'));

const table = 's.t';

/** One of each, quick and not: the first statement of a transaction is captured another way than the rest. */
async function each(work: (id: number) => string): Promise<unknown[]> {
  const quick = await log.changes(work(11));
  const slow = await log.changes(
    `begin; delete from s.other; insert into s.other values (1); ${work(12)}; commit`,
  );
  return [...quick, ...slow.filter((change) => change.table !== 's.other')];
}
beforeEach(() => log.writer.query(`create table other (id int primary key); select rowcast.watch('other')`));

describe('names', () => {
  it('quoted and non-ASCII names', async () => {
    await log.writer.query(`
      create schema "Odd "" Schéma"; create table "Odd "" Schéma"."Töble, %s 'x' \\ $1" ("Schlüssel ""a""" int primary key, "größe\\" text, "select" int);
      select rowcast.watch('"Odd "" Schéma"."Töble, %s ''x'' \\ $1"')`);
    const odd = `"Odd "" Schéma"."Töble, %s 'x' \\ $1"`;
    const key = { 'Schlüssel "a"': 1 };
    expect(await log.changes(`insert into ${odd} values (1, 'ä', 2)`)).toEqual([
      { op: 'insert', table: odd, key, new: { ...key, 'größe\\': 'ä', select: 2 } },
    ]);
    expect(await log.changes(`update ${odd} set "select" = 3`)).toEqual([
      { op: 'update', table: odd, key, new: { ...key, 'größe\\': 'ä', select: 3 }, old: { select: 2 } },
    ]);
    expect(
      await log.changes(`insert into ${odd} values (2); delete from ${odd} where "select" = 3`),
    ).toMatchObject([
      { op: 'insert', key: { 'Schlüssel "a"': 2 } },
      { op: 'delete', table: odd, key },
    ]);
    expect(await log.changes(`truncate ${odd}`)).toEqual([{ op: 'truncate', table: odd }]);
    await log.writer.query('drop schema "Odd "" Schéma" cascade');
  });

  it('a table in the search path of the watcher alone, and one that shadows pg_catalog', async () => {
    await log.writer.query(`create table pg_class (id int primary key); select rowcast.watch('s.pg_class')`);
    expect(await log.changes('insert into s.pg_class values (1)')).toEqual([
      { op: 'insert', table: 's.pg_class', key: { id: 1 }, new: { id: 1 } },
    ]);
  });

  it.each([
    'n',
    'o',
    't',
    'r',
    'j',
    'key',
    'place',
    'ticket',
    'line',
    'shape',
    'new',
    'old',
    'new_rows',
    'old_rows',
    'found',
    'lines',
    'zone',
    'done',
    'columns',
    'keys',
    'skip',
    'body',
    'pinned',
    'changed',
  ])('a column named %s', async (name) => {
    await log.writer.query(
      `create table named (id int primary key, "${name}" int); select rowcast.watch('named')`,
    );
    const row = (id: number, value: number) => ({ id, [name]: value });
    const named = { table: 's.named' };
    expect(await each((id) => `insert into s.named values (${id}, 1)`)).toEqual(
      [11, 12].map((id) => ({ op: 'insert', ...named, key: { id }, new: row(id, 1) })),
    );
    expect(await each((id) => `update s.named set "${name}" = 2 where id = ${id}`)).toEqual(
      [11, 12].map((id) => ({ op: 'update', ...named, key: { id }, new: row(id, 2), old: { [name]: 1 } })),
    );
    expect(await log.changes('delete from s.named where id = 11')).toEqual([
      { op: 'delete', ...named, key: { id: 11 }, old: row(11, 2) },
    ]);
    const many =
      'insert into s.named select n, 1 from generate_series(21, 50) n; update s.named set id = id + 1000; delete from s.named';
    expect(await log.changes(many)).toHaveLength(30 + 2 * 31 + 31);
  });

  it('a key named n', async () => {
    await log.writer.query(`
      create table keyed (n int, o text, v int, primary key (n, o)); select rowcast.watch('keyed')`);
    expect(await log.changes(`insert into keyed values (1, 'x', 1)`)).toMatchObject([
      { key: { n: 1, o: 'x' } },
    ]);
    expect(await log.changes('update keyed set v = 2')).toMatchObject([
      { op: 'update', key: { n: 1, o: 'x' }, old: { v: 1 } },
    ]);
  });
});

describe('after watch', () => {
  it('a table renamed, and moved to another schema', async () => {
    await log.writer.query('alter table t rename to u');
    expect(await each((id) => `insert into s.u values (${id})`)).toMatchObject([
      { table: 's.u' },
      { table: 's.u' },
    ]);
    await log.writer.query('create schema s2; alter table u set schema s2');
    expect(await log.changes('delete from s2.u where id = 1')).toMatchObject([
      { table: 's2.u', key: { id: 1 } },
    ]);
    await log.writer.query('drop schema s2 cascade');
  });

  it('a column added', async () => {
    await log.writer.query(`alter table t add column x text default 'new'`);
    expect(await each((id) => `insert into s.t values (${id})`)).toMatchObject([
      { new: { x: 'new' } },
      { new: { x: 'new' } },
    ]);
    expect(await log.changes(`update t set x = 'z' where id = 1`)).toMatchObject([{ old: { x: 'new' } }]);
  });

  it('a column renamed', async () => {
    await log.writer.query('alter table t rename column v to "V 2"');
    expect(await log.changes(`update t set "V 2" = 'b'`)).toEqual([
      { op: 'update', table, key: { id: 1 }, new: { id: 1, 'V 2': 'b', w: 5 }, old: { 'V 2': 'a' } },
    ]);
  });

  it('the key column renamed', async () => {
    await log.writer.query('alter table t rename column id to ident');
    expect(await each((id) => `insert into s.t values (${id})`)).toMatchObject([
      { key: { ident: 11 } },
      { key: { ident: 12 } },
    ]);
    expect(await each((id) => `update s.t set w = 6 where ident = ${id}`)).toMatchObject([
      { op: 'update', key: { ident: 11 } },
      { op: 'update', key: { ident: 12 } },
    ]);
    expect(await log.changes('delete from t where ident = 1')).toMatchObject([{ key: { ident: 1 } }]);
    const { rows } = await log.writer.query(`select key from rowcast.watched where "table" = 't'::regclass`);
    expect(rows).toEqual([{ key: ['ident'] }]);
  });

  it('the name of the key given to another column, and watched again', async () => {
    await log.writer.query(
      `begin;
       alter table t rename id to was; alter table t rename w to id;
       select rowcast.watch('t', key => array['was']);
       commit`,
    );
    expect(await each((id) => `insert into s.t values (${id}, 'a', 5)`)).toMatchObject([
      { key: { was: 11 }, new: { id: 5 } },
      { key: { was: 12 }, new: { id: 5 } },
    ]);
    expect(await log.changes('delete from t where was = 11')).toMatchObject([{ key: { was: 11 } }]);
  });

  it('a column dropped', async () => {
    await log.writer.query('alter table t drop column v');
    expect(await each((id) => `insert into s.t values (${id}, 7)`)).toEqual([
      { op: 'insert', table, key: { id: 11 }, new: { id: 11, w: 7 } },
      { op: 'insert', table, key: { id: 12 }, new: { id: 12, w: 7 } },
    ]);
    expect(await log.changes('delete from t where id = 1')).toMatchObject([{ old: { id: 1, w: 5 } }]);
  });

  it('a key column dropped: an error that names rowcast and the table, and says what to do', async () => {
    await log.writer.query('alter table t drop column id');
    for (const work of [`insert into t values ('b')`, `update t set v = 'b'`, 'delete from t']) {
      await expect(log.writer.query(work)).rejects.toMatchObject({
        message: 'rowcast: a key column of s.t was dropped, so its rows cannot be told apart any more',
        hint: expect.stringMatching(/rowcast\.watch\('s\.t', key => .*rowcast\.unwatch\('s\.t'\)/),
      });
    }
    const { rows } = await log.writer.query(`select key from rowcast.watched where "table" = 't'::regclass`);
    expect(rows).toEqual([{ key: [null] }]);
    await log.writer.query(`set client_min_messages = error; select rowcast.watch('t', key => '{v}')`);
    expect(await log.changes(`insert into t values ('b')`)).toMatchObject([{ key: { v: 'b' } }]);
  });

  it('a table dropped: watched no longer', async () => {
    await log.writer.query('drop table t');
    const { rows } = await log.writer.query(`select count(*)::int as n from rowcast.watched`);
    expect(rows).toEqual([{ n: 1 }]);
  });

  it('a type changed', async () => {
    await log.writer.query('alter table t alter id type numeric(10, 2), alter w type text');
    const { texts } = await log.one(`update t set w = 'x'`);
    expect(texts).toEqual(['"key":{"id": 1.00},"new":{"v": "a", "w": "x", "id": 1.00},"old":{"w": "5"}']);
  });
});

describe('published columns only', () => {
  beforeEach(() => log.writer.query(`select rowcast.watch('t', columns => '{id,v}')`));

  it('are in new, old and key, and nothing else is', async () => {
    expect(await each((id) => `insert into s.t values (${id}, 'x', 9)`)).toEqual([
      { op: 'insert', table, key: { id: 11 }, new: { id: 11, v: 'x' } },
      { op: 'insert', table, key: { id: 12 }, new: { id: 12, v: 'x' } },
    ]);
    expect(await log.changes(`update t set v = 'b', w = 6 where id = 1`)).toEqual([
      { op: 'update', table, key: { id: 1 }, new: { id: 1, v: 'b' }, old: { v: 'a' } },
    ]);
    expect(await log.of('update t set w = 8')).toEqual([]);
    expect(await log.changes('delete from t where id = 1')).toEqual([
      { op: 'delete', table, key: { id: 1 }, old: { id: 1, v: 'b' } },
    ]);
  });

  it('a renamed published column, an added column, a dropped one', async () => {
    await log.writer.query(
      'alter table t rename v to vv; alter table t rename w to v; alter table t add column x int default 3',
    );
    expect(await log.changes('insert into t values (2)')).toEqual([
      { op: 'insert', table, key: { id: 2 }, new: { id: 2, vv: null } },
    ]);
    await log.writer.query('alter table t drop column vv');
    expect(await log.changes('insert into t values (3)')).toEqual([
      { op: 'insert', table, key: { id: 3 }, new: { id: 3 } },
    ]);
    expect(await log.of('update t set v = 9')).toEqual([]);
  });

  it('in partitions too', async () => {
    await log.writer.query(`
      create table p (id int primary key, v text, secret text) partition by range (id);
      create table p1 partition of p default; select rowcast.watch('p', columns => '{id,v}')`);
    const row = { table: 's.p', key: { id: 1 }, new: { id: 1, v: 'a' } };
    expect(await log.changes(`insert into p1 values (1, 'a', 'b')`)).toEqual([{ op: 'insert', ...row }]);
    expect(await log.of(`update p1 set secret = 'c'`)).toEqual([]);
    expect(await log.changes('truncate p1')).toEqual([
      { op: 'delete', ...row, new: undefined, old: row.new },
    ]);
  });
});
