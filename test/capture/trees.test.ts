/** Partitioned and inherited tables: each change once, as a change of the watched table. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Captured, type Change, captured } from '../harness/captured.ts';
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
afterEach(() => log.writer.query('set client_min_messages = warning; drop schema s cascade'));

function brief(changes: Change[]): string[] {
  return changes
    .map(({ op, table, key, new: row }) => `${op} ${table} ${key?.['id'] ?? ''} ${row?.['v'] ?? ''}`.trim())
    .map((line) => line.replace(' s.t', ''));
}

describe('partitioned tables', () => {
  beforeEach(() =>
    log.writer.query(`
      create schema s; set search_path = s;
      create table t (id int primary key, v text) partition by range (id);
      create table low partition of t for values from (0) to (100);
      create table high partition of t for values from (100) to (300) partition by range (id);
      create table high_1 partition of high for values from (100) to (200);
      select rowcast.watch('t')`),
  );

  it('with a row trigger that writes to a plain table: after it, though nothing was captured before', async () => {
    await log.writer.query(`
      create table plain (id int primary key); select rowcast.watch('plain');
      create function f() returns trigger language plpgsql as $f$ begin insert into s.plain values (new.id); return new; end $f$;
      create trigger a after insert on t for each row execute function f()`);
    expect(brief(await log.changes('insert into t values (1), (101)'))).toEqual([
      'insert 1',
      'insert 101',
      'insert s.plain 1',
      'insert s.plain 101',
    ]);
  });

  it('through the parent', async () => {
    expect(brief(await log.changes(`insert into t values (1, 'a'), (101, 'b')`))).toEqual([
      'insert 1 a',
      'insert 101 b',
    ]);
    expect(brief(await log.changes(`update t set v = 'c'`))).toEqual(['update 1 c', 'update 101 c']);
    expect(await log.changes('delete from t where id = 1')).toEqual([
      { op: 'delete', table: 's.t', key: { id: 1 }, old: { id: 1, v: 'c' } },
    ]);
  });

  it('through a partition', async () => {
    expect(await log.changes(`insert into low values (1, 'a'), (2, 'b')`)).toEqual([
      { op: 'insert', table: 's.t', key: { id: 1 }, new: { id: 1, v: 'a' } },
      { op: 'insert', table: 's.t', key: { id: 2 }, new: { id: 2, v: 'b' } },
    ]);
    expect(await log.changes(`update low set v = 'c' where id = 1`)).toEqual([
      { op: 'update', table: 's.t', key: { id: 1 }, new: { id: 1, v: 'c' }, old: { v: 'a' } },
    ]);
    expect(await log.of('update low set v = v')).toEqual([]);
    expect(brief(await log.changes(`update low set id = 7 where id = 2`))).toEqual([
      'delete 2',
      'insert 7 b',
    ]);
    expect(brief(await log.changes('delete from low'))).toEqual(['delete 1', 'delete 7']);
    expect(brief(await log.changes(`copy low from program 'printf "5,a\\n"' csv`))).toEqual(['insert 5 a']);
  });

  it('through a partition with partitions of its own', async () => {
    expect(brief(await log.changes(`insert into high values (101, 'a')`))).toEqual(['insert 101 a']);
    expect(brief(await log.changes(`insert into high_1 values (102, 'b')`))).toEqual(['insert 102 b']);
    expect(brief(await log.changes(`update high set v = 'c' where id = 101`))).toEqual(['update 101 c']);
    expect(brief(await log.changes(`update high_1 set v = 'd' where id = 102`))).toEqual(['update 102 d']);
    expect(brief(await log.changes('delete from high where id = 101'))).toEqual(['delete 101']);
  });

  it('a row that moves', async () => {
    await log.writer.query(
      `create table top_1 partition of high for values from (200) to (300); insert into t values (1, 'a')`,
    );
    expect(brief(await log.changes('update t set id = 101'))).toEqual(['delete 1', 'insert 101 a']);
    expect(brief(await log.changes('update t set id = 201'))).toEqual(['delete 101', 'insert 201 a']);
    expect(brief(await log.changes('update high set id = 102'))).toEqual(['delete 201', 'insert 102 a']);
  });

  it('a row that moves, with the same key', async () => {
    await log.writer.query(`
      create table r (id int, region text, v text, primary key (id, region)) partition by list (region);
      create table eu partition of r for values in ('eu'); create table us partition of r for values in ('us');
      select rowcast.watch('r', key => '{id}'); insert into r values (1, 'eu', 'a')`);
    expect(await log.changes(`update r set region = 'us'`)).toEqual([
      {
        op: 'update',
        table: 's.r',
        key: { id: 1 },
        new: { id: 1, region: 'us', v: 'a' },
        old: { region: 'eu' },
      },
    ]);
  });

  it('a row that moves to where a trigger drops it, alone', async () => {
    await log.writer.query(`
      create function f() returns trigger language plpgsql as $f$ begin return null; end $f$;
      create trigger a before insert on high_1 for each row execute function f();
      insert into t values (1, 'a'), (2, 'b')`);
    const move = (id: number) => `update t set id = ${id + 100} where id = ${id}`;
    expect(brief(await log.changes(move(1)))).toEqual(['delete 1']);
    expect(brief(await log.changes(`insert into t values (3, 'c'); ${move(2)}`))).toEqual([
      'insert 3 c',
      'delete 2',
    ]);
  });

  it('a row that moves to where a trigger drops it, beside one that stays', async () => {
    await log.writer.query(`insert into t values (1, 'a'), (2, 'b');
      create function s.drop_it() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger dropping before insert on high_1 for each row execute function s.drop_it()`);
    expect(
      brief(await log.changes(`update t set v = 'c', id = case id when 1 then 101 else id end`)),
    ).toEqual(['delete 1', 'update 2 c']);
  });

  it('a partition attached later, one created later, one detached', async () => {
    await log.writer.query(`
      create table later (id int primary key, v text); insert into later values (301, 'old');
      alter table t attach partition later for values from (300) to (400);
      create table latest partition of t for values from (400) to (500)`);
    expect(brief(await log.changes(`insert into t values (302, 'a')`))).toEqual(['insert 302 a']);
    expect(brief(await log.changes(`insert into later values (303, 'b')`))).toEqual(['insert 303 b']);
    expect(brief(await log.changes(`insert into latest values (401, 'c')`))).toEqual(['insert 401 c']);
    expect(brief(await log.changes(`update t set v = 'z' where id > 300`))).toHaveLength(4);
    await log.writer.query('alter table t detach partition later');
    expect(await log.of(`insert into later values (304, 'd')`)).toEqual([]);
  });

  it('TRUNCATE of the parent', async () => {
    await log.writer.query(`insert into t values (1, 'a'), (101, 'b')`);
    expect(await log.changes('truncate t')).toEqual([{ op: 'truncate', table: 's.t' }]);
    expect(brief(await log.changes(`insert into low values (3, 'a')`))).toEqual(['insert 3 a']);
  });

  it('TRUNCATE of a partition', async () => {
    await log.writer.query(`insert into t values (1, 'a'), (2, 'b'), (101, 'c')`);
    expect(await log.changes('truncate low')).toEqual([
      { op: 'delete', table: 's.t', key: { id: 1 }, old: { id: 1, v: 'a' } },
      { op: 'delete', table: 's.t', key: { id: 2 }, old: { id: 2, v: 'b' } },
    ]);
    expect(brief(await log.changes('truncate high'))).toEqual(['delete 101']);
  });

  it('TRUNCATE of a partition attached later, once watch was called again', async () => {
    await log.writer.query(`
      create table latest partition of t for values from (400) to (500); insert into t values (401, 'a');
      select rowcast.watch('t')`);
    expect(brief(await log.changes('truncate latest'))).toEqual(['delete 401']);
    expect(brief(await log.changes(`insert into latest values (402, 'b')`))).toEqual(['insert 402 b']);
  });

  it('parent and partition in one transaction, in order', async () => {
    const changes = await log.changes(`
      insert into t values (1, 'a'); update low set v = 'b'; update t set v = 'c'; delete from low; insert into t values (1, 'd')`);
    expect(brief(changes)).toEqual(['insert 1 a', 'update 1 b', 'update 1 c', 'delete 1', 'insert 1 d']);
  });

  it('a failing statement on the parent, caught, does not hide the partition', async () => {
    const changes = await log.changes(`
      do $$ begin
        begin insert into t values (1, 'a'), (1, 'b'); exception when unique_violation then null; end;
        insert into low values (2, 'c');
      end $$`);
    expect(brief(changes)).toEqual(['insert 2 c']);
  });

  it('a trigger on the parent that writes to the partition, and the other way round', async () => {
    await log.writer.query(`
      create function again() returns trigger language plpgsql as $f$ begin
        if new.v = 'a' then update low set v = 'b' where id = new.id; elsif new.v = 'b' then update t set v = 'c' where id = new.id; end if;
        return new; end $f$;
      create trigger again after insert or update on t for each row execute function again()`);
    expect(brief(await log.changes(`insert into t values (1, 'a')`))).toEqual([
      'insert 1 a',
      'update 1 b',
      'update 1 c',
    ]);
    expect(brief(await log.changes(`insert into low values (2, 'a')`))).toEqual([
      'insert 2 a',
      'update 2 b',
      'update 2 c',
    ]);
  });

  it('a foreign key that cascades within and into it', async () => {
    await log.writer.query(`
      create table p (id int primary key); insert into p values (1), (2);
      alter table t add column p int references p on delete cascade; insert into t values (1, 'a', 1), (101, 'b', 2)`);
    expect(brief(await log.changes('delete from p where id = 1'))).toEqual(['delete 1']);
    expect(brief(await log.changes('delete from p'))).toEqual(['delete 101']);
  });

  it('cannot have a partition watched beside it', async () => {
    await expect(log.writer.query(`select rowcast.watch('low')`)).rejects.toMatchObject({
      message: expect.stringMatching(/s?\.?low is part of s?\.?t, which is watched already/),
      hint: expect.stringContaining('Unwatch'),
    });
  });

  it('unwatch ends all of it', async () => {
    await log.writer.query(`select rowcast.unwatch('t')`);
    expect(
      await log.of(`insert into t values (1, 'a'); insert into low values (2, 'a'); truncate low`),
    ).toEqual([]);
    const { rows } = await log.writer.query(`select tgname from pg_trigger where tgname like 'rowcast%'`);
    expect(rows).toEqual([]);
  });
});

describe('inherited tables', () => {
  beforeEach(() =>
    log.writer.query(`
      create schema s; set search_path = s;
      create table t (id int primary key, v text);
      create table child (extra int) inherits (t);
      create table grandchild () inherits (child);
      select rowcast.watch('t')`),
  );

  it('through the parent, a child and a grandchild', async () => {
    expect(brief(await log.changes(`insert into t values (1, 'a')`))).toEqual(['insert 1 a']);
    expect(brief(await log.changes(`insert into child values (2, 'b', 7)`))).toEqual(['insert 2 b']);
    expect(brief(await log.changes(`insert into grandchild values (3, 'c', 8)`))).toEqual(['insert 3 c']);
    expect(brief(await log.changes(`update t set v = 'd'`))).toEqual([
      'update 1 d',
      'update 2 d',
      'update 3 d',
    ]);
    expect(brief(await log.changes(`update child set v = 'e'`))).toEqual(['update 2 e', 'update 3 e']);
    expect(brief(await log.changes('delete from grandchild'))).toEqual(['delete 3']);
    expect(brief(await log.changes('delete from t'))).toEqual(['delete 1', 'delete 2']);
  });

  it('the columns of the watched table alone, whichever way', async () => {
    const [one] = await log.changes(`insert into child values (2, 'b', 7)`);
    expect(one?.new).toEqual({ id: 2, v: 'b' });
    const [two] = await log.changes(`update t set v = 'c'`);
    expect(two?.new).toEqual({ id: 2, v: 'c' });
  });

  it('TRUNCATE of a child and of the parent', async () => {
    await log.writer.query(`insert into t values (1, 'a'); insert into child values (2, 'b', 7)`);
    expect(brief(await log.changes('truncate child'))).toEqual(['delete 2']);
    expect(brief(await log.changes('truncate t'))).toEqual(['truncate']);
  });
});
