/** How the log is pruned: what goes, what stays, and that writers follow. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';

let database: Database;
let log: Captured;
beforeEach(async () => {
  database = await createDatabase();
  log = await captured(database);
  await log.writer.query(`create table notes (id int primary key, body text); select rowcast.watch('notes')`);
});
afterEach(async () => {
  await log.close();
  await database.drop();
});

interface Pruned {
  emptied: number;
  freed_bytes: string;
  log_bytes: string;
}

async function prune(args = `'0'`): Promise<Pruned> {
  const { rows } = await database.query<Pruned & Record<string, unknown>>(
    `select * from rowcast.prune(${args})`,
  );
  const [row] = rows;
  if (row === undefined) throw new Error('prune says nothing');
  return row;
}

async function value(sql: string): Promise<unknown> {
  const { rows } = await database.query(`select (${sql}) as value`);
  return rows[0]?.['value'];
}
const slot = () => value('rowcast.slot()');
const slots = () => value('select array_agg(distinct slot order by slot) from rowcast.log');
const prunedXid = () => value('select pruned_xid::text from rowcast.install');

/** Writes one row and gives the transaction. */
async function write(id: number, body = 'x'): Promise<string> {
  return (await log.one(`insert into notes values (${id}, '${body}')`)).xid;
}

describe('prune', () => {
  it('by age: slot by slot, and pruned_xid is exact', async () => {
    const [first] = [await write(1), await prune()];
    expect(await slot()).toBe(1);
    expect(await slots()).toEqual([0]);
    const second = await write(2);
    expect(await prune(`'1 hour'`)).toMatchObject({ emptied: 0 });
    expect([await slot(), await slots(), await prunedXid()]).toEqual([1, [0, 1], '0']);
    expect(await prune()).toMatchObject({ emptied: 1 });
    expect([await slot(), await slots(), await prunedXid()]).toEqual([2, [1], first]);
    expect(await prune()).toMatchObject({ emptied: 1 });
    expect([await slots(), await prunedXid()]).toEqual([null, second]);
    expect(await prune()).toMatchObject({ emptied: 0 });
    expect(await slot()).toBe(2);
  });

  it('pruned_xid counts a transaction of which only chunks are there, and none that was rolled back', async () => {
    await write(1);
    await log.writer.query(
      `begin; insert into notes values (2); insert into notes select n, repeat('x', 100) from generate_series(1000, 1200) n`,
    );
    await prune();
    const large = await log.one(
      `insert into notes select n, repeat('x', 100) from generate_series(10, 300) n; commit`,
    );
    expect(await value('select array_agg(distinct slot order by slot) from rowcast.chunk')).toEqual([0, 1]);
    await expect(
      log.writer.query(`begin; insert into notes values (3); insert into notes values (3)`),
    ).rejects.toThrow();
    await log.writer.query('rollback');
    await prune();
    expect(await prunedXid()).toBe(large.xid);
    expect(await prune()).toMatchObject({ emptied: 1 });
    expect(await prunedXid()).toBe(large.xid);
  });

  it('by size, and the disk gets it back', async () => {
    const limit = `'1 day', 3600000`;
    const body = `(select string_agg(md5(n::text), '') from generate_series(1, 30000) n)`;
    await log.writer.query(`insert into notes values (1, ${body})`);
    const empty = Number(await value('rowcast.slot_bytes(7::int2)'));
    expect(await prune(limit)).toMatchObject({ emptied: 0 });
    expect(await slot()).toBe(1);
    for (const id of [2, 3]) await log.writer.query(`insert into notes values (${id}, ${body})`);
    expect(await prune(limit)).toMatchObject({ emptied: 0 });
    expect(await slot()).toBe(2);
    await log.writer.query(`insert into notes values (4, ${body})`);
    const freed = await prune(limit);
    expect(freed.emptied).toBe(1);
    expect(Number(freed.freed_bytes)).toBeGreaterThan(900_000);
    expect(Number(freed.log_bytes)).toBeLessThan(3_600_000);
    expect(Number(await value('rowcast.slot_bytes(0::int2)'))).toBe(empty);
    expect(await slots()).toEqual([1, 2]);
  });

  it('writers follow, those with warm plans too', async () => {
    const warm = await database.client();
    for (let id = 0; id < 12; id++) {
      await warm.query(
        `begin; insert into notes values (${id}); update notes set body = 'y' where id = ${id}; commit`,
      );
      await warm.query({ name: 'warm', text: 'insert into notes values ($1)', values: [100 + id] });
    }
    for (const next of [1, 2, 3]) {
      await prune();
      await log.of(() =>
        warm.query({ name: 'warm', text: 'insert into notes values ($1)', values: [200 + next] }),
      );
      await log.of(() =>
        warm.query(
          `begin; insert into notes values (${300 + next}); delete from notes where id = ${next}; commit`,
        ),
      );
      expect(
        await value(
          'select array_agg(slot order by id) from (select slot, id from rowcast.log order by id desc limit 2) l',
        ),
      ).toEqual([next, next]);
    }
    await warm.end();
  });

  it('goes around the ring', async () => {
    for (let n = 1; n <= 20; n++) {
      await write(n);
      await prune();
      expect(await slot()).toBe(n % 8);
    }
    expect(await value('select count(*)::int from rowcast.log')).toBe(1);
  });

  it('stays where it is while the next slot is not empty', async () => {
    const long = `'1 day'`;
    for (let n = 1; n <= 9; n++) {
      await write(n);
      await database.query(
        `update rowcast.log_slot set started_at = started_at - interval '5 hours' where ended_at is null`,
      );
      expect(await prune(long)).toMatchObject({ emptied: 0 });
      expect(await slot()).toBe(Math.min(n, 7));
    }
    expect(await value('select count(*)::int from rowcast.log')).toBe(10);
  });

  it('a slot in use is left for the next call: by a reader, by a writer', async () => {
    await write(1);
    await prune();
    const xid = await write(2);
    const reader = await database.client();
    await reader.query('begin isolation level repeatable read read only; select count(*) from rowcast.log');
    expect(await prune()).toMatchObject({ emptied: 0, freed_bytes: '0' });
    expect([await slots(), await prunedXid()]).toEqual([[0, 1], '0']);
    await reader.query('commit');
    expect(await prune()).toMatchObject({ emptied: 2 });
    expect([await slots(), await prunedXid()]).toEqual([null, xid]);

    await reader.query('begin; insert into notes values (3)');
    const busy = await slot();
    await write(4);
    while ((await slot()) === busy) await prune();
    await prune();
    expect(await slots()).toContain(busy);
    const late = await log.one(() =>
      reader.query('update notes set body = null; update notes set id = 30 where id = 3; commit'),
    );
    expect(late.changes.map(({ op }) => op)).toEqual([
      'insert',
      'update',
      'update',
      'update',
      'delete',
      'insert',
    ]);
    await reader.end();
  });

  it('a transaction across the move, spilled on both sides, is whole', async () => {
    await log.writer.query(
      `begin; insert into notes select n, repeat('x', 100) from generate_series(1, 300) n`,
    );
    const other = await database.client();
    await other.query('insert into notes values (-1)');
    await prune();
    expect(await slot()).toBe(1);
    const commits = await log.of(
      `insert into notes select n, repeat('x', 100) from generate_series(301, 600) n; commit`,
    );
    expect(commits.map(({ changes }) => changes.map(({ key }) => key?.['id']))).toEqual([
      Array.from({ length: 600 }, (_, n) => n + 1),
    ]);
    await other.end();
  });

  it('two at once: one works, the other goes away', async () => {
    const other = await database.client();
    await other.query(`begin; select rowcast.prune('0')`);
    expect(await prune()).toMatchObject({ emptied: 0 });
    await other.query('commit');
    await other.end();
  });

  it('never waits for a writer, nor makes one wait', async () => {
    await log.writer.query('begin; insert into notes values (1)');
    const other = await database.client();
    await other.query(`set lock_timeout = '1s'; set statement_timeout = '5s'`);
    for (let n = 0; n < 3; n++) {
      await other.query(`select rowcast.prune('0')`);
      await other.query(`insert into notes values (${n + 10})`);
    }
    await log.writer.query('commit');
    await other.end();
  });

  it('forgets tables that were dropped', async () => {
    await log.writer.query('drop table notes');
    await prune();
    expect(await value('select count(*)::int from rowcast.relation')).toBe(0);
  });
});
