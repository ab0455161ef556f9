/** Large rows, statements and transactions: never an error of the writer's, all of it in the log. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';

let database: Database;
let log: Captured;
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
  await log.writer.query(`create table notes (id int primary key, body text); select rowcast.watch('notes')`);
});
beforeEach(() => log.writer.query('truncate notes'));
afterAll(async () => {
  await log.close();
  await database.drop();
});

describe('large', () => {
  it('a 9 kB row', async () => {
    for (const work of [
      `insert into notes values (1, repeat('x', 9000))`,
      `update notes set body = repeat('y', 9000)`,
      `update notes set body = repeat('ü', 4500)`,
      'delete from notes',
      `begin; select 1; insert into notes values (1, repeat('ü', 4500)); insert into notes values (2, 'b'); commit`,
    ]) {
      const commit = await log.one(work);
      expect(commit.inline).toBe(false);
      const { new: row, old } = commit.changes[0] ?? {};
      expect(Buffer.byteLength(String((row ?? old)?.['body']))).toBe(9000);
    }
  });

  it('every size around what a NOTIFY holds', async () => {
    let inline = 0;
    const commits = await log.of(async () => {
      for (let n = 7750; n < 7990; n += 3) {
        await log.writer.query(`insert into notes values (${n}, repeat('x', ${n}))`);
      }
      for (let n = 3500; n < 4000; n += 6) {
        await log.writer.query(`begin; insert into notes values (${n}, repeat('ü', ${n >> 1}));
          insert into notes values (-${n}, repeat('x', ${n})); commit`);
      }
    });
    for (const commit of commits) {
      expect(commit).toMatchObject({ rows: 1, notifies: 1 });
      for (const { key, new: row } of commit.changes) {
        expect(Buffer.byteLength(String(row?.['body']))).toBe(Math.abs(Number(key?.['id'])));
      }
      if (commit.inline) inline++;
    }
    expect(inline).toBeGreaterThan(10);
    expect(inline).toBeLessThan(commits.length - 10);
  });

  it('a 1 MB row', async () => {
    const commit = await log.one(`insert into notes values (1, repeat('xyzü', 200000))`);
    expect(commit.inline).toBe(false);
    expect(commit.changes).toMatchObject([{ op: 'insert', key: { id: 1 } }]);
    expect(Buffer.byteLength(String(commit.changes[0]?.new?.['body']))).toBe(1_000_000);
    expect(await log.changes(`update notes set body = 'small'`)).toMatchObject([
      { op: 'update', new: { body: 'small' } },
    ]);
  });

  it('many large rows of one statement, a few at a time', async () => {
    const commit = await log.one(
      `insert into notes select n, repeat('x', 100000) from generate_series(1, 50) n`,
    );
    expect(commit.changes).toHaveLength(50);
    // All of them in one text would be an error of the writer's, past a gigabyte.
    const { rows } = await database.query<{ longest: number }>(`
      with it as (select xid from rowcast.log order by id desc limit 1)
      select greatest((select max(octet_length(body)) from rowcast.log where xid = (select xid from it)),
                      (select max(octet_length(body)) from rowcast.chunk where xid = (select xid from it))) as longest`);
    expect(rows[0]?.longest).toBeLessThan(200_000);
  });

  it('one statement with 200,000 rows', async () => {
    const commit = await log.one(`insert into notes select n, 'x' from generate_series(1, 200000) n`);
    expect(commit.inline).toBe(false);
    expect(commit.changes).toHaveLength(200_000);
    expect(commit.changes.every(({ op, key }, n) => op === 'insert' && key?.['id'] === n + 1)).toBe(true);
    // Read in pages: no row of the log is much larger than a page.
    const { rows } = await database.query<{ largest: number }>(
      'select max(octet_length(body)) as largest from rowcast.chunk',
    );
    expect(rows[0]?.largest).toBeLessThan(2_000_000);
  });

  it('one update and one delete of 20,000 rows', async () => {
    await log.writer.query(`insert into notes select n, 'x' from generate_series(1, 20000) n`);
    const update = await log.one(`update notes set body = 'y'`);
    expect(new Set(update.changes.map(({ key }) => key?.['id'])).size).toBe(20_000);
    expect(
      update.changes.every(
        ({ op, old, new: row }) => op === 'update' && old?.['body'] === 'x' && row?.['body'] === 'y',
      ),
    ).toBe(true);
    const gone = await log.one('delete from notes');
    expect(new Set(gone.changes.map(({ op, key }) => `${op} ${key?.['id']}`)).size).toBe(20_000);
  });

  it('one transaction with 5,000 statements', async () => {
    await log.writer.query(`insert into notes values (0, '0')`);
    const commit = await log.one(async () => {
      await log.writer.query('begin');
      const statements = Array.from({ length: 5000 }, (_, n) =>
        n % 2 === 0
          ? `insert into notes values (${n + 1}, 'x')`
          : `update notes set body = '${n}' where id = 0`,
      );
      await log.writer.query(statements.join(';'));
      await log.writer.query('commit');
    });
    expect(commit.changes).toHaveLength(5000);
    let before = '0';
    for (const [n, change] of commit.changes.entries()) {
      if (n % 2 === 0) expect(change.key).toEqual({ id: n + 1 });
      else {
        expect(change).toMatchObject({ op: 'update', old: { body: before }, new: { body: String(n) } });
        before = String(n);
      }
    }
  });

  it('two large transactions at once, kept apart', async () => {
    const other = await database.client();
    const fill = (from: number) =>
      `insert into notes select n, repeat('x', 50) from generate_series(${from}, ${from + 999}) n`;
    const commits = await log.of(async () => {
      await log.writer.query('begin');
      await other.query('begin');
      for (let n = 0; n < 5; n++) {
        await log.writer.query(fill(n * 1000));
        await other.query(fill(100_000 + n * 1000));
      }
      await other.query('commit');
      await log.writer.query('commit');
    });
    expect(commits.map(({ changes }) => changes.map(({ key }) => key?.['id']))).toEqual(
      [100_000, 0].map((from) => Array.from({ length: 5000 }, (_, n) => from + n)),
    );
    await other.end();
  });
});
