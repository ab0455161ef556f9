/** The triggers that are written for each table: what they hold on to, and what becomes of them. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { serverMajor } from '../harness/suite.ts';

/** Of what PostgreSQL has since 18. */
const itOf18 = (await serverMajor()) >= 18 ? it : it.skip;

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
    create schema s; set search_path = s; create table t (id int primary key, v text);
    select rowcast.watch('t')`),
);
afterEach(() =>
  log.writer.query(
    'reset all; set client_min_messages = warning; drop schema s cascade; select rowcast.prune()',
  ),
);

/** How many functions there are that were written for tables. */
async function written(): Promise<number> {
  const { rowCount } = await database.query(
    `select from pg_proc where pronamespace = 'rowcast'::regnamespace and proname ~ '^capture_[a-z]+_[0-9]+$'`,
  );
  return rowCount ?? 0;
}

/** Calls of what only the long way needs, made by a piece of work. */
async function longWays(work: string): Promise<number> {
  const calls = `select coalesce(pg_stat_get_xact_function_calls('rowcast.pin()'::regprocedure), 0)::int as calls`;
  const count = async () => (await log.writer.query<{ calls: number }>(calls)).rows[0]?.calls ?? Number.NaN;
  await log.writer.query(`set track_functions = 'all'; begin`);
  const before = await count();
  await log.writer.query(work);
  const after = await count();
  await log.writer.query('commit');
  return after - before;
}

const WORK = ["insert into t values (1, 'a')", "update t set v = 'b'", 'delete from t'];

describe('the quick way', () => {
  it.each([
    ['all columns', "watch('t')"],
    ['some', "watch('t', columns => '{id,v}')"],
    ['a key of two', "watch('t', key => '{id,v}')"],
  ])('is taken by statements of one row: %s', async (_, watch) => {
    await log.writer.query(
      `alter table t add w int; alter table t alter v set not null; select rowcast.${watch}`,
    );
    for (const work of WORK)
      expect([work, await longWays(work)]).toEqual([
        work,
        watch.includes('key') && work.startsWith('update') ? 1 : 0,
      ]);
  });

  it.each(['UTC', 'Etc/UTC', 'Europe/Berlin', 'America/St_Johns'])(
    'writes times in UTC, and leaves the time zone %s',
    async (zone) => {
      await log.writer.query(
        `create table at (id int primary key, at timestamptz); select rowcast.watch('at'); set timezone = '${zone}'`,
      );
      const one = "insert into at values (1, '2026-03-01 12:00:00+00')";
      expect(await log.changes(one)).toMatchObject([{ new: { at: '2026-03-01T12:00:00+00:00' } }]);
      expect(await log.changes("update at set at = '2026-07-01 12:00:00+00'")).toMatchObject([
        { new: { at: '2026-07-01T12:00:00+00:00' }, old: { at: '2026-03-01T12:00:00+00:00' } },
      ]);
      expect(
        await log.changes("insert into at select n, '2026-03-01 12:00:00+00' from generate_series(2, 4) n"),
      ).toMatchObject([2, 3, 4].map((id) => ({ key: { id }, new: { at: '2026-03-01T12:00:00+00:00' } })));
      expect(await longWays("insert into at values (5, '2026-03-01 12:00:00+00')")).toBe(0);
      expect((await log.writer.query('show timezone')).rows).toEqual([{ TimeZone: zone }]);
    },
  );

  it('leaves nothing in the transaction but the first row of several', async () => {
    for (const settings of ['', 'set constraints all immediate;']) {
      const [commit] = await log.of(
        `begin; ${settings} insert into t select n from generate_series(1, 3) n; delete from t where id < 3; insert into t values (9); delete from t; commit`,
      );
      expect(commit?.changes.map(({ op, key }) => `${op} ${key?.['id']}`)).toEqual([
        'insert 1',
        'insert 2',
        'insert 3',
        'delete 1',
        'delete 2',
        'insert 9',
        'delete 3',
        'delete 9',
      ]);
    }
  });

  it.each([
    ['the first of its transaction', ''],
    ['a later one', 'delete from t where id = 9;'],
  ])('is taken by an upsert of a row, whichever it does: %s', async (_, before) => {
    await log.writer.query('insert into t values (8), (9)');
    const upsert = `${before} insert into t values (1, 'a') on conflict (id) do update set v = 'b'`;
    expect(await longWays(upsert)).toBe(0);
    await log.writer.query('insert into t values (9) on conflict do nothing');
    expect(await longWays(upsert)).toBe(0);
    const { rows } = await log.writer.query('select * from t where id = 1');
    expect(rows).toEqual([{ id: 1, v: 'b' }]);
  });

  it('captures no row, and then one', async () => {
    expect(await log.of('insert into t select 1 where false; delete from t; update t set id = 1')).toEqual(
      [],
    );
    expect(await log.changes('begin; delete from t; insert into t values (1); commit')).toMatchObject([
      { op: 'insert' },
    ]);
  });

  it('hides columns of any name', async () => {
    await log.writer.query(
      `create table odd (id int primary key, "50%1$s %L ' $f$" int, shown int); select rowcast.watch('odd', columns => '{id,shown}')`,
    );
    expect(await log.changes('insert into odd values (1, 2, 3)')).toEqual([
      { op: 'insert', table: 's.odd', key: { id: 1 }, new: { id: 1, shown: 3 } },
    ]);
    expect(await log.changes('update odd set shown = 4')).toMatchObject([
      { new: { id: 1, shown: 4 }, old: { shown: 3 } },
    ]);
    expect(await log.changes('delete from odd')).toMatchObject([{ old: { id: 1, shown: 4 } }]);
  });

  it('of a key that may be null', async () => {
    await log.writer.query(
      `set client_min_messages = error; create table n (a int, b text); select rowcast.watch('n', key => '{a,b}')`,
    );
    expect(await log.changes("insert into n values (null, 'x')")).toMatchObject([
      { key: { a: null, b: 'x' } },
    ]);
    expect(await log.changes('delete from n')).toMatchObject([{ key: { a: null, b: 'x' } }]);
  });
});

describe('an altered table', () => {
  const ALTERED = [
    ['a renamed key', 'alter table t rename id to number'],
    ['a renamed table', 'alter table t rename to u; create view t as select * from u'],
    ['a column whose values depend on settings', 'alter table t add took interval'],
    ['another type of the key', 'alter table t alter id type text using id::text'],
  ];

  it.each(ALTERED)('goes the long way, until its triggers are written again: %s', async (_, alter) => {
    await longWays('insert into t values (1); delete from t');
    await log.writer.query(alter);
    const work = 'insert into t values (5)';
    expect(await longWays(work)).toBe(1);
    await log.writer.query('delete from t; select rowcast.prune()');
    expect(await longWays(work)).toBe(0);
  });

  it.each(['repeatable read', 'serializable'])(
    'after the snapshot of a transaction, %s',
    async (isolation) => {
      await log.changes('insert into t values (1)');
      await log.writer.query(`begin isolation level ${isolation}; select 1`);
      await database.query('alter table s.t rename id to number');
      await expect(log.writer.query('insert into t values (2)')).rejects.toMatchObject({
        code: '40001',
        message: expect.stringMatching(
          /^rowcast: a column of a watched table was renamed or dropped after .*: id$/,
        ),
      });
      await log.writer.query('rollback');
      expect(await log.changes('insert into t values (3)')).toMatchObject([{ key: { number: 3 } }]);
    },
  );

  it('within the transaction that writes', async () => {
    expect(
      await log.changes(`begin; alter table t rename id to number; alter table t add took interval;
        insert into t values (4, 'x', '1 day'); commit`),
    ).toMatchObject([{ key: { number: 4 }, new: { took: '1 day' } }]);
  });
});

describe('what a table allows', () => {
  itOf18('a null where a constraint that is not valid forbids it', async () => {
    await log.writer.query(
      `insert into t values (1); alter table t add constraint c not null v not valid; select rowcast.watch('t')`,
    );
    expect(await log.changes('delete from t')).toMatchObject([{ old: { id: 1, v: null } }]);
  });

  it('a null in a child', async () => {
    await log.writer.query(`
      create table u (id int primary key, v text); create table child () inherits (u);
      alter table only u alter v set not null; alter table child alter v drop not null;
      select rowcast.watch('u'); insert into child values (1, null)`);
    expect(await log.changes('delete from u')).toMatchObject([{ op: 'delete', old: { id: 1, v: null } }]);
  });

  itOf18('a virtual column, added later', async () => {
    await log.writer.query(
      'alter table t add twice int generated always as (id * 2) virtual; select rowcast.prune()',
    );
    expect(await log.changes('insert into t values (1)')).toEqual([
      { op: 'insert', table: 's.t', key: { id: 1 }, new: { id: 1, v: null } },
    ]);
    expect(await log.changes('delete from t')).toMatchObject([{ old: { id: 1, v: null } }]);
  });

  it('a key of sixty columns', async () => {
    const names = Array.from({ length: 60 }, (_, n) => `c${n}`);
    await log.writer.query(`
      set client_min_messages = error; create table wide (${names.map((name) => `${name} int not null default 1`).join(', ')}, v int);
      select rowcast.watch('wide', key => '{${names.join(',')}}')`);
    expect(await log.changes('insert into wide (v) values (1)')).toMatchObject([
      { key: { c59: 1 }, new: { v: 1 } },
    ]);
    expect(await log.changes('update wide set v = 2')).toMatchObject([{ key: { c0: 1 }, old: { v: 1 } }]);
  });

  it('a cascade to a table that was altered since the statement began', async () => {
    await log.writer.query(`
      create table p (id int primary key); create table c (id int primary key, p int references p on delete cascade, v int);
      select rowcast.watch('c'); insert into p values (1), (2); insert into c values (1, 1, 0), (2, 2, 0), (3, 2, 0)`);
    await log.changes('delete from p where id = 1');
    const blocker = await database.client();
    const late = await log.changes(async () => {
      await blocker.query('select pg_advisory_lock(77)');
      const deleting = log.writer.query(
        'delete from p using (select pg_advisory_xact_lock(77)) w where id = 2',
      );
      await until(
        async () =>
          (await database.query('select from pg_locks where objid = 77 and not granted')).rowCount === 1,
        { what: 'the statement has begun' },
      );
      await database.query('alter table s.c rename v to w');
      await blocker.query('select pg_advisory_unlock_all()');
      await deleting;
    });
    expect(late).toMatchObject([2, 3].map((id) => ({ op: 'delete', key: { id }, old: { w: 0 } })));
    await blocker.end();
    await log.writer.query('insert into p values (4)');
    expect(await log.changes('insert into c values (4, 4, 1)')).toMatchObject([{ new: { w: 1 } }]);
  });
});

describe('what is written', () => {
  it('goes with the watching, or with the table', async () => {
    const before = await written();
    await log.writer.query(`create table u (id int primary key); select rowcast.watch('u')`);
    expect(await written()).toBe(before + 3);
    await log.writer.query(`select rowcast.watch('u', access => 'public')`);
    expect(await written()).toBe(before + 3);
    await log.writer.query(`select rowcast.unwatch('u')`);
    expect(await written()).toBe(before);
    await log.writer.query(`select rowcast.watch('u'); drop table u; select rowcast.prune()`);
    expect(await written()).toBe(before);
  });

  it('is not needed: triggers of an earlier version capture all the same', async () => {
    await log.writer.query(`
      drop trigger rowcast_insert on t; drop trigger rowcast_update on t; drop trigger rowcast_delete on t;
      create trigger rowcast_insert after insert on t referencing new table as new_rows for each statement execute function rowcast.capture_insert('id');
      create trigger rowcast_update after update on t referencing old table as old_rows new table as new_rows for each statement execute function rowcast.capture_update('id');
      create trigger rowcast_delete after delete on t referencing old table as old_rows for each statement execute function rowcast.capture_delete('id')`);
    for (const [nth, op] of ['insert', 'update', 'delete'].entries()) {
      expect(await log.changes(WORK[nth] ?? '')).toMatchObject([{ op, key: { id: 1 } }]);
    }
    const [commit] = await log.of(`begin; ${WORK.join(';')}; commit`);
    expect(commit?.changes.map(({ op }) => op)).toEqual(['insert', 'update', 'delete']);
  });
});
