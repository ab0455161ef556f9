/** What single statements leave in the log, and what their NOTIFY says. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';

let database: Database;
let log: Captured;
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
  await log.writer.query(`
    create table notes (id int primary key, body text, total numeric);
    create table tags (id int primary key, name text);
    create table pairs (a int, b text, v int, primary key (a, b));
    select rowcast.watch('notes'), rowcast.watch('tags'), rowcast.watch('pairs')`);
});
beforeEach(() => log.writer.query('truncate notes, tags, pairs'));
afterAll(async () => {
  await log.close();
  await database.drop();
});

const table = 'public.notes';
function note(id: number, body: string | null = null, total: number | null = null) {
  return { id, body, total };
}

describe('one statement', () => {
  it('insert', async () => {
    const commit = await log.one(`insert into notes values (1, 'one', 7.5)`);
    expect(commit).toMatchObject({ inline: true, chunks: 0 });
    expect(commit.changes).toEqual([{ op: 'insert', table, key: { id: 1 }, new: note(1, 'one', 7.5) }]);
  });

  it('insert of many rows, on both sides of the quick path', async () => {
    for (const many of [50, 51, 52]) {
      await log.writer.query('truncate notes');
      const commit = await log.one(`insert into notes select n, 'x' from generate_series(1, ${many}) n`);
      expect(commit).toMatchObject({ inline: true });
      expect(commit.changes.map((change) => change.key?.['id'])).toEqual(
        Array.from({ length: many }, (_, n) => n + 1),
      );
    }
  });

  it('insert of no row, update of none, delete of none', async () => {
    expect(await log.of('insert into notes select 1 where false')).toEqual([]);
    expect(await log.of('update notes set id = 1')).toEqual([]);
    expect(await log.of('delete from notes')).toEqual([]);
  });

  it('update', async () => {
    await log.writer.query(`insert into notes values (1, 'one', 1), (2, 'two', 2)`);
    expect(await log.changes(`update notes set body = 'uno' where id = 1`)).toEqual([
      { op: 'update', table, key: { id: 1 }, new: note(1, 'uno', 1), old: { body: 'one' } },
    ]);
    expect(await log.changes(`update notes set total = total + 1, body = null`)).toEqual([
      {
        op: 'update',
        table,
        key: { id: expect.any(Number) },
        new: expect.anything(),
        old: expect.anything(),
      },
      {
        op: 'update',
        table,
        key: { id: expect.any(Number) },
        new: expect.anything(),
        old: expect.anything(),
      },
    ]);
  });

  it('an update of several rows says of each what it changed of it, and nothing of one that it left alone', async () => {
    await log.writer.query(`insert into notes values (1, 'a', 7), (2, 'b', 7), (3, null, 7), (4, 'b', 8)`);
    const commit = await log.one(
      `update notes set body = 'b', total = case when id = 1 then 7.00 else total end`,
    );
    expect(commit.changes).toEqual([
      { op: 'update', table, key: { id: 1 }, new: note(1, 'b', 7), old: { body: 'a', total: 7 } },
      { op: 'update', table, key: { id: 3 }, new: note(3, 'b', 7), old: { body: null } },
    ]);
    expect(commit.texts[0]).toContain('"total": 7.00');
  });

  it('delete', async () => {
    await log.writer.query(`insert into notes values (1, 'one', 1), (2, 'two', 2)`);
    expect(await log.changes('delete from notes where id = 2')).toEqual([
      { op: 'delete', table, key: { id: 2 }, old: note(2, 'two', 2) },
    ]);
  });

  it('truncate, alone and of several tables', async () => {
    const commit = await log.one('truncate notes');
    expect(commit).toMatchObject({ inline: true, changes: [{ op: 'truncate', table }], texts: [''] });
    const both = await log.changes('truncate notes, tags');
    expect(both.map((change) => change.table).sort()).toEqual([table, 'public.tags']);
  });

  it('composite keys', async () => {
    const pairs = { table: 'public.pairs', key: { a: 1, b: 'x' } };
    expect(await log.changes(`insert into pairs values (1, 'x', 5)`)).toEqual([
      { op: 'insert', ...pairs, new: { a: 1, b: 'x', v: 5 } },
    ]);
    expect(await log.changes('update pairs set v = 6')).toEqual([
      { op: 'update', ...pairs, new: { a: 1, b: 'x', v: 6 }, old: { v: 5 } },
    ]);
    expect(await log.changes(`update pairs set b = 'y'`)).toEqual([
      { op: 'delete', ...pairs, old: { a: 1, b: 'x', v: 6 } },
      { op: 'insert', ...pairs, key: { a: 1, b: 'y' }, new: { a: 1, b: 'y', v: 6 } },
    ]);
    expect(await log.changes('delete from pairs')).toMatchObject([{ op: 'delete', key: { a: 1, b: 'y' } }]);
  });

  it('an update and a delete of several rows with a composite key', async () => {
    await log.writer.query(`insert into pairs values (1, 'x', 5), (1, 'y', 6), (2, 'x', 7)`);
    expect(await log.changes('update pairs set v = v + 1 where a = 1')).toEqual([
      {
        op: 'update',
        table: 'public.pairs',
        key: { a: 1, b: 'x' },
        new: { a: 1, b: 'x', v: 6 },
        old: { v: 5 },
      },
      {
        op: 'update',
        table: 'public.pairs',
        key: { a: 1, b: 'y' },
        new: { a: 1, b: 'y', v: 7 },
        old: { v: 6 },
      },
    ]);
    expect(await log.changes('delete from pairs where a = 1')).toMatchObject([
      { op: 'delete', key: { a: 1, b: 'x' }, old: { v: 6 } },
      { op: 'delete', key: { a: 1, b: 'y' }, old: { v: 7 } },
    ]);
  });
});

describe('several in one transaction', () => {
  it('several statements', async () => {
    const commit = await log.one(`
      insert into notes values (1, 'a');
      update notes set body = 'b';
      insert into notes values (2, 'c');
      update notes set body = 'd' where id = 1;
      delete from notes where id = 1`);
    expect(commit.inline).toBe(true);
    expect(commit.changes).toEqual([
      { op: 'insert', table, key: { id: 1 }, new: note(1, 'a') },
      { op: 'update', table, key: { id: 1 }, new: note(1, 'b'), old: { body: 'a' } },
      { op: 'insert', table, key: { id: 2 }, new: note(2, 'c') },
      { op: 'update', table, key: { id: 1 }, new: note(1, 'd'), old: { body: 'b' } },
      { op: 'delete', table, key: { id: 1 }, old: note(1, 'd') },
    ]);
  });

  it('several tables', async () => {
    const changes = await log.changes(`
      insert into tags values (1, 'a');
      insert into notes values (1, 'a');
      update tags set name = 'b';
      truncate notes;
      insert into notes values (1, 'z')`);
    expect(changes.map((change) => `${change.op} ${change.table}`)).toEqual([
      'insert public.tags',
      'insert public.notes',
      'update public.tags',
      'truncate public.notes',
      'insert public.notes',
    ]);
  });
});

describe('statements of several effects', () => {
  it('INSERT … ON CONFLICT', async () => {
    await log.writer.query(`insert into notes values (1, 'old'), (2, 'keep')`);
    const changes = await log.changes(`
      insert into notes values (1, 'new'), (3, 'fresh'), (2, 'keep')
      on conflict (id) do update set body = excluded.body`);
    expect(changes).toHaveLength(2);
    expect(changes).toEqual(
      expect.arrayContaining([
        { op: 'update', table, key: { id: 1 }, new: note(1, 'new'), old: { body: 'old' } },
        { op: 'insert', table, key: { id: 3 }, new: note(3, 'fresh') },
      ]),
    );
    expect(await log.of(`insert into notes values (1, 'x') on conflict do nothing`)).toEqual([]);
    const update = await log.changes(
      `insert into notes values (1, 'z') on conflict (id) do update set body = 'y'`,
    );
    expect(update).toEqual([
      { op: 'update', table, key: { id: 1 }, new: note(1, 'y'), old: { body: 'new' } },
    ]);
  });

  it('MERGE', async () => {
    const { rows } = await database.query<{ version: number }>(
      `select current_setting('server_version_num')::int as version`,
    );
    if ((rows[0]?.version ?? 0) < 150000) return;
    await log.writer.query(`insert into notes values (1, 'one'), (2, 'two')`);
    const changes = await log.changes(`
      merge into notes n using (values (1, 'uno'), (2, null), (3, 'tres')) s (id, body) on n.id = s.id
      when matched and s.body is null then delete
      when matched then update set body = s.body
      when not matched then insert (id, body) values (s.id, s.body)`);
    expect(changes).toHaveLength(3);
    expect(changes).toEqual(
      expect.arrayContaining([
        { op: 'update', table, key: { id: 1 }, new: note(1, 'uno'), old: { body: 'one' } },
        { op: 'delete', table, key: { id: 2 }, old: note(2, 'two') },
        { op: 'insert', table, key: { id: 3 }, new: note(3, 'tres') },
      ]),
    );
  });

  it('COPY', async () => {
    const changes = await log.changes(`copy notes (id, body) from program 'printf "1,one\\n2,two\\n"' csv`);
    expect(changes).toEqual([
      { op: 'insert', table, key: { id: 1 }, new: note(1, 'one') },
      { op: 'insert', table, key: { id: 2 }, new: note(2, 'two') },
    ]);
  });

  it('data-modifying CTEs', async () => {
    await log.writer.query(`insert into notes values (1, 'one'), (2, 'two')`);
    const changes = await log.changes(`
      with gone as (delete from notes where id = 1 returning id, body),
           kept as (update notes set body = 'zwei' where id = 2 returning id)
      insert into tags select id, body from gone union all select id, 'kept' from kept`);
    expect(changes).toHaveLength(4);
    expect(changes).toEqual(
      expect.arrayContaining([
        { op: 'delete', table, key: { id: 1 }, old: note(1, 'one') },
        { op: 'update', table, key: { id: 2 }, new: note(2, 'zwei'), old: { body: 'two' } },
        { op: 'insert', table: 'public.tags', key: { id: 1 }, new: { id: 1, name: 'one' } },
        { op: 'insert', table: 'public.tags', key: { id: 2 }, new: { id: 2, name: 'kept' } },
      ]),
    );
    // The key is there again in the same statement: its deletion comes first.
    const again = await log.changes(`
      with gone as (delete from notes where id = 2 returning id) insert into notes select id, 'again' from gone`);
    expect(again.map(({ op }) => op)).toEqual(['delete', 'insert']);
  });
});

describe('updates of keys', () => {
  it('an update of the key', async () => {
    await log.writer.query(`insert into notes values (1, 'one')`);
    expect(await log.changes(`update notes set id = 5`)).toEqual([
      { op: 'delete', table, key: { id: 1 }, old: note(1, 'one') },
      { op: 'insert', table, key: { id: 5 }, new: note(5, 'one') },
    ]);
  });

  it('an update that gives one of several rows another key', async () => {
    await log.writer.query(`insert into notes values (1, 'a'), (2, 'b'), (3, 'c')`);
    expect(await log.changes(`update notes set id = case id when 2 then 9 else id end, body = 'z'`)).toEqual([
      { op: 'delete', table, key: { id: 2 }, old: note(2, 'b') },
      { op: 'update', table, key: { id: 1 }, new: note(1, 'z'), old: { body: 'a' } },
      { op: 'update', table, key: { id: 3 }, new: note(3, 'z'), old: { body: 'c' } },
      { op: 'insert', table, key: { id: 9 }, new: note(9, 'z') },
    ]);
  });

  it('an update that swaps two keys', async () => {
    await log.writer.query(`
      alter table notes drop constraint notes_pkey, add primary key (id) deferrable;
      insert into notes values (1, 'one'), (2, 'two')`);
    const changes = await log.changes('update notes set id = 3 - id');
    expect(changes).toHaveLength(2);
    expect(changes).toEqual(
      expect.arrayContaining([
        { op: 'update', table, key: { id: 1 }, new: note(1, 'two'), old: { body: 'one' } },
        { op: 'update', table, key: { id: 2 }, new: note(2, 'one'), old: { body: 'two' } },
      ]),
    );
  });

  it('an update that shifts all keys by one', async () => {
    await log.writer.query(`insert into notes values (1, 'one'), (2, 'two')`);
    const rows = new Map<unknown, unknown>([
      [1, 'one'],
      [2, 'two'],
    ]);
    for (const change of await log.changes('update notes set id = id + 1')) {
      if (change.op === 'delete') expect(rows.delete(change.key?.['id'])).toBe(true);
      else rows.set(change.new?.['id'], change.new?.['body']);
    }
    expect(rows).toEqual(
      new Map([
        [2, 'one'],
        [3, 'two'],
      ]),
    );
  });

  it('an update that changes nothing; 7 to 7.00 is a change', async () => {
    await log.writer.query(`insert into notes values (1, 'one', 7), (2, 'two', 8)`);
    expect(await log.of('update notes set body = body')).toEqual([]);
    expect(await log.of('update notes set body = body where id = 1')).toEqual([]);
    const [quick] = (await log.one('update notes set total = 7.00 where id = 1')).texts;
    expect(quick).toBe('"key":{"id": 1},"new":{"id": 1, "body": "one", "total": 7.00},"old":{"total": 7}');
    const slow = await log.one('update notes set total = total * 1.00');
    expect(slow.texts).toHaveLength(2);
    expect(slow.texts).toContain(
      '"key":{"id": 2},"new":{"id": 2, "body": "two", "total": 8.00},"old":{"total": 8}',
    );
  });
});
