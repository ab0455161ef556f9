/** One log row and one NOTIFY a commit, whatever the transaction does on its way. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type pg from 'pg';
import { type Captured, type Commit, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { startServer } from '../harness/server.ts';

let database: Database;
let log: Captured;
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
  await log.writer.query(`
    create table notes (id int primary key, body text);
    create table wide (id int primary key, n int, fill text) with (fillfactor = 10);
    create table plain (like wide including all) with (fillfactor = 10);
    select rowcast.watch('notes'), rowcast.watch('wide')`);
});
beforeEach(() => log.writer.query('truncate notes'));
afterAll(async () => {
  await log.close();
  await database.drop();
});

/** What was done, briefly: `insert 1 a`. */
function brief(commit: Commit): string[] {
  return commit.changes.map((change) =>
    `${change.op} ${change.key?.['id'] ?? ''} ${change.new?.['body'] ?? ''}`.trim(),
  );
}

describe('transactions', () => {
  it('rolled-back transaction', async () => {
    expect(
      await log.of(`begin; insert into notes values (1, 'a'); insert into notes values (2, 'b'); rollback`),
    ).toEqual([]);
    expect(brief(await log.one(`insert into notes values (1, 'c')`))).toEqual(['insert 1 c']);
    await expect(
      log.writer.query(`insert into notes values (3, 'a'); insert into notes values (1, 'twice')`),
    ).rejects.toMatchObject({ code: '23505' });
    expect(await log.of('select 1')).toEqual([]);
  });

  it('rolled-back savepoint', async () => {
    const commit = await log.one(`
      begin; insert into notes values (1, 'a');
      savepoint s; insert into notes values (2, 'b'); update notes set body = 'z'; rollback to s;
      insert into notes values (3, 'c'); commit`);
    expect(brief(commit)).toEqual(['insert 1 a', 'insert 3 c']);
    expect(commit.inline).toBe(true);
  });

  it('rolled-back savepoint in which the first statement ran, then more statements', async () => {
    const commit = await log.one(`
      begin; savepoint s; insert into notes values (1, 'a'); insert into notes values (2, 'b'); rollback to s;
      insert into notes values (1, 'c'); savepoint s2; insert into notes values (2, 'd'); release s2; commit`);
    expect(brief(commit)).toEqual(['insert 1 c', 'insert 2 d']);
    expect(await log.of('begin; savepoint s; insert into notes values (9); rollback to s; commit')).toEqual(
      [],
    );
  });

  it('rolled-back savepoint that had spilled', async () => {
    const commit = await log.one(`
      begin; insert into notes values (1, 'a');
      savepoint s; insert into notes select n, repeat('x', 100) from generate_series(10, 500) n; rollback to s;
      insert into notes values (2, 'b'); commit`);
    expect(brief(commit)).toEqual(['insert 1 a', 'insert 2 b']);
    expect(commit).toMatchObject({ inline: true, chunks: 0 });
  });

  it('released savepoint', async () => {
    const commit = await log.one(`
      begin; savepoint s; insert into notes values (1, 'a'); release s;
      savepoint t; insert into notes values (2, 'b'); savepoint u; insert into notes values (3, 'c');
      release u; release t; commit`);
    expect(brief(commit)).toEqual(['insert 1 a', 'insert 2 b', 'insert 3 c']);
  });

  it('a statement that fails inside an exception block of PL/pgSQL', async () => {
    const commit = await log.one(`
      do $$ begin
        begin
          insert into notes values (1, 'lost'); insert into notes values (1, 'twice');
        exception when unique_violation then
          insert into notes values (1, 'caught');
        end;
        insert into notes values (2, 'after');
        begin
          update notes set body = 'lost'; raise 'no';
        exception when others then null;
        end;
        insert into notes values (3, 'last');
      end $$`);
    expect(brief(commit)).toEqual(['insert 1 caught', 'insert 2 after', 'insert 3 last']);
  });

  it('a procedure that commits inside a loop', async () => {
    await log.writer.query(`
      create procedure pour() language plpgsql as $$ begin
        for n in 1 .. 6 loop
          insert into notes values (n, 'a'); update notes set body = 'b' where id = n;
          if n % 3 = 0 then rollback; else commit; end if;
        end loop;
      end $$`);
    const commits = await log.of('call pour()');
    expect(commits.map(brief)).toEqual([1, 2, 4, 5].map((n) => [`insert ${n} a`, `update ${n} b`]));
    for (const commit of commits) expect(commit).toMatchObject({ rows: 1, notifies: 1, inline: true });
  });

  it('several transactions of one session, each in its order', async () => {
    const commits = await log.of(async () => {
      for (let n = 0; n < 20; n++) await log.writer.query(`insert into notes values (${n}, 'a')`);
    });
    expect(commits.map((commit) => commit.changes[0]?.key?.['id'])).toEqual(
      Array.from({ length: 20 }, (_, n) => n),
    );
  });
});

describe('a key that is checked at the end', () => {
  it.each([
    ['a row inserted', `insert into late values (1, 'new')`],
    ['a row whose key is changed', 'update late set id = 1 where id = 2'],
    ['with others', `insert into notes values (1, 'a'); insert into late values (1, 'new')`],
  ])('comes after the one that it waited for: %s', async (_, replace) => {
    const [other, watcher] = [await database.client(), await database.client()];
    try {
      await log.writer.query(`create table late (id int primary key deferrable initially deferred, body text);
        select rowcast.watch('late'); insert into late values (1, 'old'), (2, 'other')`);
      const commits = await log.of(async () => {
        // So long that this one gets another id when it ends, and the one that waits for it would keep its own.
        await log.writer.query('begin; delete from late where id = 1; select pg_sleep(0.06)');
        const waiting = other.query(replace);
        await until(
          async () =>
            (await watcher.query(`select from pg_locks where locktype = 'transactionid' and not granted`))
              .rowCount === 1,
          { what: 'it waits' },
        );
        await log.writer.query('commit');
        await waiting;
      });
      expect(commits.map((commit) => brief(commit).at(-1)?.slice(0, 8))).toEqual(['delete 1', 'insert 1']);
    } finally {
      await Promise.all([other.end(), watcher.end()]);
      await log.writer.query('drop table late');
    }
  });

  it.each(['read committed', 'repeatable read', 'serializable'])(
    'has all changes once, in order: %s',
    async (isolation) => {
      await log.writer.query(`create table late (id int primary key deferrable initially deferred, body text);
      select rowcast.watch('late')`);
      const work = [
        `insert into late values (1, 'a'), (2, 'b')`,
        'savepoint s; delete from late; rollback to s',
        `update late set id = 3 - id`,
        `insert into notes values (1, 'a')`,
      ];
      const fire = 'set constraints all immediate; set constraints all deferred';
      for (const [way, parts] of [
        [work, 1],
        [[fire, ...work], 1],
        [[...work, fire], 1],
        [[...work.slice(0, 2), fire, ...work.slice(2)], 2],
        [['set constraints all immediate', ...work], 3],
      ] as const) {
        const [commit, ...more] = await log.of(
          `begin isolation level ${isolation}; ${way.join('; ')}; commit`,
        );
        expect([more, commit?.rows, commit && brief(commit)]).toEqual([
          [],
          parts,
          ['insert 1 a', 'insert 2 b', 'update 2 a', 'update 1 b', 'insert 1 a'],
        ]);
        await log.writer.query('truncate late, notes');
      }
      const many = await log.of(`insert into late select n, repeat('x', 100) from generate_series(1, 300) n`);
      expect(many.map(({ changes }) => changes.length)).toEqual([300]);
      await log.writer.query('drop table late');
    },
  );
});

describe('SET CONSTRAINTS ALL IMMEDIATE in the middle', () => {
  it('has all changes once, in order', async () => {
    const [commit, ...others] = await log.of(`
      begin; insert into notes values (1, 'a'); update notes set body = 'b';
      set constraints all immediate;
      insert into notes values (2, 'c'); update notes set body = 'd' where id = 1; delete from notes where id = 2;
      commit`);
    expect(others).toEqual([]);
    expect(commit && brief(commit)).toEqual([
      'insert 1 a',
      'update 1 b',
      'insert 2 c',
      'update 1 d',
      'delete 2',
    ]);
    expect(commit?.notifies).toBeGreaterThanOrEqual(1);
  });

  it('and again deferred, with savepoints and much in between', async () => {
    const [commit] = await log.of(`
      begin; insert into notes values (1, 'a'); savepoint s;
      set constraints all immediate; insert into notes values (2, 'lost'); rollback to s;
      insert into notes values (2, 'b'); set constraints all immediate;
      insert into notes select n, repeat('x', 100) from generate_series(10, 300) n;
      set constraints all deferred; insert into notes values (3, 'c'); update notes set body = 'd' where id < 4;
      insert into notes select n, repeat('x', 100) from generate_series(310, 600) n; commit`);
    const done = (commit && brief(commit)) ?? [];
    expect(done.filter((one) => !one.includes('xxx'))).toEqual([
      'insert 1 a',
      'insert 2 b',
      'insert 3 c',
      'update 1 d',
      'update 2 d',
      'update 3 d',
    ]);
    expect(commit?.changes).toHaveLength(6 + 291 * 2);
    expect(
      new Set(commit?.changes.filter(({ op }) => op === 'insert').map(({ key }) => key?.['id'])).size,
    ).toBe(585);
  });

  it('before the first statement', async () => {
    const [commit] = await log.of(`
      begin; set constraints all immediate; insert into notes values (1, 'a'); update notes set body = 'b'; commit`);
    expect(commit && brief(commit)).toEqual(['insert 1 a', 'update 1 b']);
  });
});

describe('RESET ALL in the middle, which takes what was gathered with it', () => {
  it.each([
    ['of one statement', 'reset all'],
    ['of several', `update notes set body = 'b'; reset all`],
    ['before a further one', `reset all; insert into notes values (2, 'b')`],
    ['before several', `reset all; insert into notes values (2, 'b'); update notes set body = 'c'`],
    [
      'of several, before several',
      `delete from notes; reset all; insert into notes values (2, 'b'), (3, 'c')`,
    ],
  ])('fails the transaction, rather than to lose changes: %s', async (_, work) => {
    const commits = await log.of(async () => {
      await expect(
        log.writer.query(`begin; insert into notes values (1, 'a'); ${work}; commit`),
      ).rejects.toMatchObject({
        code: '55000',
        message: expect.stringContaining('rowcast: the settings of this transaction were reset'),
        hint: 'Call RESET ALL outside of transactions.',
      });
      await log.writer.query('rollback');
    });
    expect(commits).toEqual([]);
    const { rows } = await log.writer.query('select from notes');
    expect(rows).toEqual([]);
  });

  it('fails it where a deferred trigger writes as well', async () => {
    await log.writer.query(`
      create function late() returns trigger language plpgsql as $f$ begin insert into wide values (new.id); return null; end $f$;
      create constraint trigger late after insert on notes deferrable initially deferred for each row execute function late()`);
    const work = `insert into notes values (4, 'a'); update notes set body = 'b'; reset all; insert into notes values (5, 'c')`;
    await expect(log.writer.query(`begin; ${work}; commit`)).rejects.toMatchObject({ code: '55000' });
    await log.writer.query('rollback; drop trigger late on notes; drop function late()');
  });

  it('is as nothing before the first statement', async () => {
    expect(brief(await log.one(`begin; reset all; insert into notes values (1, 'a'); commit`))).toEqual([
      'insert 1 a',
    ]);
  });
});

describe('isolation levels', () => {
  it.each(['REPEATABLE READ', 'SERIALIZABLE'])('%s', async (level) => {
    const quick = await log.one(`begin isolation level ${level}; insert into notes values (1, 'a'); commit`);
    expect(brief(quick)).toEqual(['insert 1 a']);
    const commit = await log.one(`
      begin isolation level ${level}; update notes set body = 'b'; savepoint s; insert into notes values (2, 'c');
      rollback to s; insert into notes values (3, 'd'); commit`);
    expect(brief(commit)).toEqual(['update 1 b', 'insert 3 d']);
    expect(commit.inline).toBe(true);
    const large = await log.one(`
      begin isolation level ${level}; insert into notes select n, repeat('x', 100) from generate_series(10, 500) n;
      insert into notes values (4, 'e'); commit`);
    expect(large.changes).toHaveLength(492);
  });

  it('REPEATABLE READ sees the log that was, and writes what comes', async () => {
    const other = await database.client();
    const commits = await log.of(async () => {
      await log.writer.query('begin isolation level repeatable read; select 1');
      await other.query(`insert into notes values (1, 'other')`);
      await log.writer.query(
        `insert into notes values (2, 'own'); update notes set body = 'own 2' where id = 2; commit`,
      );
    });
    expect(commits.map(brief)).toEqual([['insert 1 other'], ['insert 2 own', 'update 2 own 2']]);
    await other.end();
  });

  it('SERIALIZABLE writers of different rows do not fail because of rowcast', async () => {
    const writers = await Promise.all([database.client(), database.client()]);
    await log.writer.query(`
      alter table wide alter fill set storage plain; alter table plain alter fill set storage plain;
      insert into wide select n, 0, repeat('x', 600) from generate_series(1, 8) n; insert into plain select * from wide`);
    for (const writer of writers) await writer.query('set enable_seqscan = off');
    async function failures(table: string): Promise<number> {
      const failed = await Promise.all(writers.map((writer, place) => run(writer, table, place)));
      return failed.reduce((sum, one) => sum + one, 0);
    }
    // Now and then PostgreSQL takes a page for a conflict, so a few may fail in either.
    const plain = await failures('plain');
    let failed = 0;
    const commits = await log.of(async () => {
      failed = await failures('wide');
    });
    expect(failed).toBeLessThanOrEqual(plain + 5);
    expect(commits).toHaveLength(200 - failed);
    expect(
      commits.every(({ changes, notifies, rows }) => changes.length === 3 && notifies === 1 && rows === 1),
    ).toBe(true);
    await Promise.all(writers.map((writer) => writer.end()));
  });

  /** Many transactions, each of several statements on rows that are this writer's alone. */
  async function run(writer: pg.Client, table: string, place: number): Promise<number> {
    let failed = 0;
    for (let n = 0; n < 100; n++) {
      await writer.query('begin isolation level serializable');
      try {
        for (const row of [1, 3, 1]) {
          await writer.query(`update ${table} set n = n + 1 where id = $1`, [row + place]);
        }
        await writer.query('commit');
      } catch {
        failed++;
        await writer.query('rollback');
      }
    }
    return failed;
  }
});

describe('prepared transactions', () => {
  it('are refused by PostgreSQL, in clear words, and leave nothing', async () => {
    const server = await startServer({ max_prepared_transactions: '2' });
    const own = await captured(server);
    await own.writer.query(`create table notes (id int primary key); select rowcast.watch('notes')`);
    await own.writer.query('begin; insert into notes values (1)');
    await expect(own.writer.query(`prepare transaction 'p'`)).rejects.toThrow(
      /cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY/,
    );
    expect((await own.writer.query('select * from notes')).rows).toEqual([]);
    expect(await own.changes('insert into notes values (2)')).toHaveLength(1);
    await own.close();
    await server.dispose();
  });
});
