/** Statements that triggers and foreign keys run: each captured once, the versions of a row in order. */
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
beforeEach(() => log.writer.query('create schema s; set search_path = s'));
afterEach(() => log.writer.query('set client_min_messages = warning; drop schema s cascade'));

function brief(changes: Change[], column: string): string[] {
  return changes.map(({ op, table, key, new: row }) =>
    `${op} ${table.replace('s.', '')} ${key?.['id'] ?? ''} ${row?.[column] ?? ''}`.trim(),
  );
}

/** A table `t(id, v)` with a trigger, watched. */
function withTrigger(when: string, body: string): Promise<unknown> {
  return log.writer.query(`
    create table t (id int primary key, v int not null default 0);
    create function f() returns trigger language plpgsql as $f$ begin ${body}; return new; end $f$;
    create trigger a_trigger ${when} execute function f();
    select rowcast.watch('t')`);
}

describe('foreign-key cascades', () => {
  async function parents(options: string): Promise<void> {
    await log.writer.query(`
      create table p (id int primary key);
      create table c (id int primary key, p int references p ${options});
      create table g (id int primary key, c int references c on delete cascade);
      select rowcast.watch('p'), rowcast.watch('c'), rowcast.watch('g');
      insert into p values (1), (2); insert into c values (10, 1), (11, 1), (20, 2); insert into g values (100, 10)`);
  }

  it('ON DELETE CASCADE', async () => {
    await parents('on delete cascade');
    const changes = await log.changes('delete from p where id = 1');
    expect(brief(changes, '')).toEqual(['delete p 1', 'delete c 10', 'delete c 11', 'delete g 100']);
  });

  it('ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED', async () => {
    await parents('on delete cascade deferrable initially deferred');
    const changes = await log.changes('begin; delete from p where id = 1; insert into p values (3); commit');
    expect(brief(changes, '')).toEqual([
      'delete p 1',
      'delete c 10',
      'delete c 11',
      'delete g 100',
      'insert p 3',
    ]);
  });

  it('a deferred trigger that writes to the watched table', async () => {
    await withTrigger('after update on t for each row', 'null');
    await log.writer.query(`
      create function late() returns trigger language plpgsql as $f$ begin
        if new.v < 3 then update t set v = v + 1 where id = new.id; end if; return new; end $f$;
      create constraint trigger late after insert or update on t deferrable initially deferred
        for each row execute function late()`);
    const [commit] = await log.of('begin; insert into t values (1, 0); insert into t values (2, 5); commit');
    expect(brief(commit?.changes ?? [], 'v')).toEqual([
      'insert t 1 0',
      'insert t 2 5',
      'update t 1 1',
      'update t 1 2',
      'update t 1 3',
    ]);
  });

  it('within one table, three deep', async () => {
    await log.writer.query(`
      create table c (id int primary key, up int references c on delete cascade); select rowcast.watch('c');
      insert into c values (1, null), (2, 1), (3, 2), (4, 3)`);
    const changes = brief(await log.changes('delete from c where id = 1'), '');
    expect(changes.sort()).toEqual(['delete c 1', 'delete c 2', 'delete c 3', 'delete c 4']);
  });

  it('from a table that is not watched, after statements of triggers', async () => {
    await withTrigger(
      'after insert on t for each row',
      'update c set v = v + 1; insert into c values (new.id, 1, 0)',
    );
    await log.writer.query(`
      create table p (id int primary key); create table c (id int primary key, p int references p on delete cascade, v int);
      select rowcast.watch('c'); insert into p values (1); insert into c values (10, 1, 0)`);
    const changes = await log.changes(
      'insert into t values (1); delete from p; insert into p values (1); insert into t values (2)',
    );
    expect(brief(changes, 'v')).toEqual([
      'insert t 1 0',
      'update c 10 1',
      'insert c 1 0',
      'delete c 10',
      'delete c 1',
      'insert t 2 0',
      'insert c 2 0',
    ]);
  });

  it('ON UPDATE CASCADE, ON DELETE SET NULL', async () => {
    await parents('on update cascade on delete set null');
    expect(brief(await log.changes('update p set id = 5 where id = 1'), 'p')).toEqual([
      'delete p 1',
      'insert p 5',
      'update c 10 5',
      'update c 11 5',
    ]);
    expect(await log.changes('delete from p where id = 2')).toMatchObject([
      { op: 'delete', key: { id: 2 } },
      { op: 'update', key: { id: 20 }, new: { p: null }, old: { p: 2 } },
    ]);
  });

  it('while another trigger writes to the table that is cascaded to', async () => {
    await parents('on delete cascade');
    await log.writer.query(`
      create function f() returns trigger language plpgsql as $f$ begin update c set p = 2 where id = 20; return null; end $f$;
      create trigger z_trigger after delete on p for each row execute function f()`);
    const changes = await log.changes('insert into c values (12, 1); delete from p where id = 1');
    expect(brief(changes, '')).toEqual([
      'insert c 12',
      'delete p 1',
      'delete c 10',
      'delete c 11',
      'delete c 12',
      'delete g 100',
    ]);
  });

  it('to the table itself, where a trigger after each row sees what was changed so far', async () => {
    await log.writer.query(`
      create table c (id int primary key, code int unique,
        a int references c(code) on update cascade, b int references c(code) on update cascade);
      create table aside (id int primary key);
      create function seen() returns trigger language plpgsql as $f$ begin return null; end $f$;
      create trigger seen after update on c referencing new table as n for each row execute function seen();
      create function apart() returns trigger language plpgsql as
        $f$ begin perform pg_logical_emit_message(false, 'apart', ''); return null; end $f$;
      create trigger apart before update on c for each statement execute function apart();
      insert into c values (1, 1, null, null), (2, 2, null, null), (3, 3, 1, 2);
      select rowcast.watch('c'), rowcast.watch('aside')`);
    const changes = await log.changes(
      'insert into aside values (1); update c set code = code + 10 where id < 3',
    );
    const ofThird = changes.filter(({ key }) => key?.['id'] === 3).map(({ new: row, old }) => [row, old]);
    expect(ofThird).toEqual([
      [{ id: 3, code: 3, a: 11, b: 2 }, { a: 1 }],
      [{ id: 3, code: 3, a: 11, b: 12 }, { b: 2 }],
    ]);
  });

  it.each(['', 'insert into aside default values;'])(
    'of a function in RETURNING, to the very row: %s',
    async (before) => {
      await parents('on update cascade');
      await log.writer.query(`
        create table aside (id int generated always as identity primary key); select rowcast.watch('aside');
        create function move(int) returns int language sql as 'update s.p set id = id + 2 where id = $1 returning id'`);
      const versions = async (work: string) =>
        brief(await log.changes(`${before} ${work}`), 'p').filter((one) => one.includes(' c '));
      expect(await versions('insert into c values (30, 2) returning move(p)')).toEqual([
        'insert c 30 2',
        'update c 20 4',
        'update c 30 4',
      ]);
      expect(await versions('update c set p = 1 where id = 30 returning move(p)')).toEqual([
        'update c 30 1',
        'update c 10 3',
        'update c 11 3',
        'update c 30 3',
      ]);
    },
  );
});

describe('triggers', () => {
  it('that write to another watched table', async () => {
    await withTrigger(
      'after insert or update on t for each row',
      'insert into audit (id, v) values (new.id * 10 + new.v, new.v)',
    );
    await log.writer.query(`create table audit (id int primary key, v int); select rowcast.watch('audit')`);
    const changes = await log.changes('insert into t values (1), (2); update t set v = 1 where id = 1');
    expect(brief(changes, 'v')).toEqual([
      'insert t 1 0',
      'insert t 2 0',
      'insert audit 10 0',
      'insert audit 20 0',
      'update t 1 1',
      'insert audit 11 1',
    ]);
  });

  it('AFTER triggers that update the very row again, three deep', async () => {
    const again = 'if new.v % 10 < 3 then update t set v = new.v + 1 where id = new.id; end if';
    await withTrigger('after insert or update on t for each row', again);
    const versions = ['insert t 1 0', 'update t 1 1', 'update t 1 2', 'update t 1 3'];
    expect(brief(await log.changes('insert into t values (1)'), 'v')).toEqual(versions);
    const many = await log.changes('update t set v = 10; insert into t values (2), (3)');
    for (const id of [2, 3]) {
      expect(
        brief(
          many.filter(({ key }) => key?.['id'] === id),
          'v',
        ),
      ).toEqual(versions.map((one) => one.replace('t 1', `t ${id}`)));
    }
    expect(brief(many.slice(0, 4), 'v')).toEqual([10, 11, 12, 13].map((v) => `update t 1 ${v}`));
  });

  it('statement triggers, of names before and after those of rowcast', async () => {
    await withTrigger('after insert on t for each statement', 'update t set v = v + 1');
    await log.writer.query(
      'create trigger zz_trigger after insert on t for each statement execute function f()',
    );
    expect(brief(await log.changes('insert into t values (1)'), 'v')).toEqual([
      'insert t 1 0',
      'update t 1 1',
      'update t 1 2',
    ]);
  });

  it('a BEFORE trigger that updates other rows of the same table in a multi-row INSERT', async () => {
    await withTrigger('before insert on t for each row', 'update t set v = v + 1');
    const changes = await log.changes('insert into t values (1), (2), (3)');
    expect(changes.filter(({ op }) => op === 'insert')).toHaveLength(3);
    const versions = new Map<unknown, unknown[]>();
    for (const { key, new: row } of changes) {
      versions.set(key?.['id'], [...(versions.get(key?.['id']) ?? []), row?.['v']]);
    }
    expect(versions).toEqual(
      new Map([
        [1, [0, 1, 2]],
        [2, [0, 1]],
        [3, [0]],
      ]),
    );
  });

  describe('that make room for a row', () => {
    const replaced = ['insert t 1 0', 'delete t 1', 'insert t 1 7'];

    it('a BEFORE trigger that deletes the row of the same key', async () => {
      await withTrigger('before insert on t for each row', 'delete from t where id = new.id');
      // As the first statement of a transaction, and as another, of several rows.
      const first = await log.changes('insert into t values (1)');
      expect(brief([...first, ...(await log.changes('insert into t values (1, 7)'))], 'v')).toEqual(replaced);
      const many = brief(
        await log.changes('insert into t values (9); insert into t values (2), (1), (3)'),
        'v',
      );
      expect(many.slice(0, 3)).toEqual(['insert t 9 0', 'insert t 2 0', 'insert t 3 0']);
      expect(many.slice(3)).toEqual(['delete t 1', 'insert t 1 0']);
    });

    it('with what it had: the table tells whether the row came after, or was deleted again', async () => {
      await withTrigger('before insert on t for each row', 'delete from t where id = new.id');
      await log.writer.query('insert into t values (1)');
      expect(brief(await log.changes('insert into t values (1)'), 'v')).toEqual([
        'delete t 1',
        'insert t 1 0',
      ]);
      await log.writer.query('create trigger zz_trigger after insert on t for each row execute function f()');
      expect(brief(await log.changes('insert into t values (2)'), 'v')).toEqual([
        'insert t 2 0',
        'delete t 2',
      ]);
    });

    it('where the type of the key has code of its own, which is not run with the rights of rowcast', async () => {
      await log.writer.query(`
        create function is_own(int) returns boolean language plpgsql as $f$ begin
          if current_setting('search_path') = 'pg_catalog, pg_temp' then perform set_config('test.ran', 'within rowcast', false); end if; return true; end $f$;
        create domain number as int check (is_own(value));
        create table t (id number[] primary key, v int);
        create function f() returns trigger language plpgsql as $f$ begin delete from t where id = new.id; return new; end $f$;
        create trigger a_trigger before insert on t for each row execute function f();
        select rowcast.watch('t'); insert into t values ('{1}', 0)`);
      expect(brief(await log.changes(`insert into t values ('{1}', 0)`), 'v')).toEqual([
        'delete t 1',
        'insert t 1 0',
      ]);
      await log.writer.query('alter table t alter id type number using id[1]');
      expect(brief(await log.changes('insert into t values (1, 0)'), 'v')).toEqual([
        'delete t 1',
        'insert t 1 0',
      ]);
      const { rows } = await log.writer.query(`select current_setting('test.ran', true) as ran`);
      expect(rows).toEqual([{ ran: null }]);
    });

    it('a BEFORE trigger that deletes what has the new key of an update', async () => {
      await withTrigger(
        'before update on t for each row',
        'delete from t where id = new.id and id <> old.id',
      );
      await log.writer.query('insert into t values (1, 1), (2, 2)');
      expect(brief(await log.changes('update t set id = 2 where id = 1'), 'v')).toEqual([
        'delete t 1',
        'delete t 2',
        'insert t 2 1',
      ]);
    });

    it('and an AFTER trigger that changes the row again', async () => {
      await withTrigger('before insert on t for each row', 'delete from t where id = new.id');
      await log.writer.query(`
        create function g() returns trigger language plpgsql as $f$ begin update t set v = v + 1 where id = new.id; return new; end $f$;
        create trigger again after insert on t for each row execute function g(); insert into t values (1)`);
      expect(brief(await log.changes('insert into t values (1, 7)'), 'v')).toEqual([
        'delete t 1',
        'insert t 1 7',
        'update t 1 8',
      ]);
      // As it was: that it was changed afterwards tells that it was there.
      expect(brief(await log.changes('insert into t values (1, 8)'), 'v')).toEqual([
        'delete t 1',
        'insert t 1 8',
        'update t 1 9',
      ]);
    });
  });

  it('a BEFORE trigger that changes the row, and one that skips it', async () => {
    await withTrigger(
      'before insert or update on t for each row',
      'if new.id = 2 then return null; end if; new.v := 7',
    );
    expect(brief(await log.changes('insert into t values (1), (2), (3)'), 'v')).toEqual([
      'insert t 1 7',
      'insert t 3 7',
    ]);
  });

  it('functions in the statement that write to another watched table', async () => {
    await log.writer.query(`
      create table counters (id int primary key, v int); insert into counters values (1, 0);
      create function next() returns int language sql as 'update s.counters set v = v + 1 returning v';
      create table t (id int primary key default next(), v int);
      select rowcast.watch('counters'), rowcast.watch('t')`);
    const changes = brief(await log.changes('insert into t (v) values (7), (8)'), 'v');
    expect(changes.filter((one) => one.includes('counters'))).toEqual([
      'update counters 1 1',
      'update counters 1 2',
    ]);
    expect(changes.filter((one) => !one.includes('counters'))).toEqual(['insert t 1 7', 'insert t 2 8']);
  });

  it.each(['', 'insert into aside default values;'])(
    'functions in RETURNING, and of a CTE, that change the very row: %s',
    async (before) => {
      await log.writer.query(`
        create table t (id int primary key, v int); create table aside (id int generated always as identity primary key);
        create function again(int) returns int language sql as 'update s.t set v = v + 1 where id = $1 returning v';
        select rowcast.watch('t'), rowcast.watch('aside')`);
      const versions = async (work: string) =>
        brief(await log.changes(`${before} ${work}`), 'v').filter((one) => !one.includes('aside'));
      expect(await versions('insert into t values (1, 0) returning again(id)')).toEqual([
        'insert t 1 0',
        'update t 1 1',
      ]);
      expect(await versions('update t set v = 5 where id = 1 returning again(id)')).toEqual([
        'update t 1 5',
        'update t 1 6',
      ]);
      const made =
        'with made as (insert into t values (2, 0), (3, 0) returning id) select again(id) from made';
      const versionsOfMade = await versions(made);
      for (const id of [2, 3]) {
        expect(versionsOfMade.filter((one) => one.includes(`t ${id} `))).toEqual([
          `insert t ${id} 0`,
          `update t ${id} 1`,
        ]);
      }
    },
  );

  it.each(['', 'insert into aside default values;'])(
    'a function in RETURNING of a trigger that changes the very row: %s',
    async (before) => {
      await log.writer.query(`
        create table t (id int primary key, v int); insert into t values (1, 0);
        create table a (id int primary key); create table aside (id int generated always as identity primary key);
        create function again(int) returns int language sql as 'update s.t set v = v + 1 where id = $1 returning v';
        create function f() returns trigger language plpgsql as $f$ declare q record;
          begin for q in update s.t set v = 5 where id = 1 returning s.again(id) loop end loop; return null; end $f$;
        create trigger a_trigger after insert on a for each row execute function f();
        select rowcast.watch('t'), rowcast.watch('a'), rowcast.watch('aside')`);
      const changes = brief(await log.changes(`${before} insert into a values (1)`), 'v');
      expect(changes.filter((one) => one.includes(' t '))).toEqual(['update t 1 5', 'update t 1 6']);
    },
  );

  it.each(['', 'insert into aside default values;'])(
    'a CTE that deletes rows, which the statement inserts anew: %s',
    async (before) => {
      await log.writer.query(`
        create table t (id int primary key, v int); create table aside (id int generated always as identity primary key);
        select rowcast.watch('t'), rowcast.watch('aside'); insert into t values (1, 1), (2, 2)`);
      const changes = await log.changes(
        `${before} with gone as (delete from t returning *) insert into t select id, v + 10 from gone`,
      );
      const ofT = brief(changes, 'v').filter((one) => one.includes(' t '));
      for (const id of [1, 2]) {
        expect(
          ofT.filter((one) => one.startsWith(`delete t ${id}`) || one.startsWith(`insert t ${id} `)),
        ).toEqual([`delete t ${id}`, `insert t ${id} ${id + 10}`]);
      }
    },
  );

  it('a function that deletes the row, and then the statement inserts it', async () => {
    await log.writer.query(`
      create table t (id int primary key, v int); select rowcast.watch('t'); insert into t values (1, 1), (2, 2);
      create function gone(int) returns int language sql as 'delete from s.t where id = $1 returning id'`);
    const changes = await log.changes('insert into t select gone(n), 7 from generate_series(1, 2) n');
    expect(brief(changes, 'v')).toEqual(['delete t 1', 'insert t 1 7', 'delete t 2', 'insert t 2 7']);
    // Where a trigger of the statement was captured before the function.
    await log.writer.query(`
      create table seen (id int primary key); select rowcast.watch('seen');
      create function f() returns trigger language plpgsql as $f$ begin insert into s.seen values (1); return null; end $f$;
      create trigger z_trigger before insert on t for each statement execute function f()`);
    const again = await log.changes('insert into t select gone(n), 8 from generate_series(1, 2) n');
    expect(brief(again, 'v').filter((one) => one.includes(' t '))).toEqual([
      'delete t 1',
      'insert t 1 8',
      'delete t 2',
      'insert t 2 8',
    ]);
  });

  it('fired with constraints set to be immediate', async () => {
    const again = 'if new.v % 10 < 3 then update t set v = new.v + 1 where id = new.id; end if';
    await withTrigger('after insert or update on t for each row', again);
    const [commit] = await log.of(
      'begin; set constraints all immediate; insert into t values (1), (2); update t set v = 10; commit',
    );
    for (const id of [1, 2]) {
      const own = commit?.changes.filter(({ key }) => key?.['id'] === id) ?? [];
      expect(own.map(({ new: row }) => row?.['v'])).toEqual([0, 1, 2, 3, 10, 11, 12, 13]);
    }
  });

  it('an error in a trigger, caught, leaves the tickets in order', async () => {
    await withTrigger(
      'after insert or update on t for each row',
      `begin
        update t set v = v + 1 where id = new.id and v < 1; if new.v = 1 then raise 'no'; end if;
      exception when raise_exception then null; end;
      update t set v = v + 5 where id = new.id and v = 0`,
    );
    const changes = await log.changes('insert into t values (1); update t set v = 50');
    expect(changes[0]).toMatchObject({ op: 'insert', new: { v: 0 } });
    let v: unknown = 0;
    for (const { old, new: row } of changes.slice(1)) {
      expect(old).toEqual({ v });
      v = row?.['v'];
    }
    expect(v).toBe(50);
  });
});

describe('nested statements that spill', () => {
  it('a row trigger that inserts into another watched table, 20,000 rows', async () => {
    await withTrigger('after insert on t for each row', 'insert into audit values (new.id)');
    await log.writer.query(`create table audit (id int primary key); select rowcast.watch('audit')`);
    const commit = await log.one('insert into t select n from generate_series(1, 20000) n');
    expect(commit).toMatchObject({ inline: false });
    expect(commit.chunks).toBeGreaterThan(0);
    expect(commit.changes.slice(0, 20000).map(({ table, key }) => `${table} ${key?.['id']}`)).toEqual(
      Array.from({ length: 20000 }, (_, n) => `s.t ${n + 1}`),
    );
    expect(commit.changes.slice(20000).map(({ table, key }) => `${table} ${key?.['id']}`)).toEqual(
      Array.from({ length: 20000 }, (_, n) => `s.audit ${n + 1}`),
    );
  });

  it.each([
    [20, 1],
    [60, 1],
    [150, 10],
    [400, 50],
    [410, 50],
    [1000, 3],
  ])(
    'a shift of %i keys, with a row trigger at every %i: no key is ever there twice',
    async (many, every) => {
      await withTrigger(
        'after update on t for each row',
        `if new.v = 0 and new.id % ${every} = 0 then
        insert into audit values (new.id); update t set v = 1 where id = new.id; end if`,
      );
      await log.writer.query(`
      create table audit (id int primary key); select rowcast.watch('audit');
      alter table t drop constraint t_pkey, add primary key (id) deferrable;
      insert into t select n, 0 from generate_series(1, ${many}) n`);
      const rows = new Map<unknown, unknown>(Array.from({ length: many }, (_, n) => [n + 1, 0]));
      // Spilled once already, and not.
      const before = many % 100 === 0 ? 'insert into audit select -n from generate_series(1, 500) n;' : '';
      const commit = await log.one(`${before} update t set id = id + ${many / 2}`);
      for (const { op, table, key, new: row, old } of commit.changes) {
        if (table !== 's.t') continue;
        const id = key?.['id'];
        expect(rows.has(id)).toBe(op !== 'insert');
        if (op === 'update') expect(rows.get(id)).toBe(old?.['v']);
        if (op === 'delete') rows.delete(id);
        else rows.set(id, row?.['v']);
      }
      const { rows: final } = await log.writer.query<{ id: number; v: number }>('select * from t');
      expect(rows).toEqual(new Map(final.map(({ id, v }) => [id, v])));
    },
  );

  it('a nested statement first, then statements that spill', async () => {
    await withTrigger('after insert on t for each row', 'update audit set v = v + 1 where id = 1');
    await log.writer.query(
      `create table audit (id int primary key, v int); insert into audit values (1, 0); select rowcast.watch('audit')`,
    );
    const commit = await log.one(`
      insert into t values (1), (2); update audit set v = 10;
      do $$ begin for n in 1 .. 300 loop update s.audit set v = v + 1; end loop; end $$`);
    expect(commit.chunks).toBeGreaterThan(0);
    let v: unknown = 0;
    for (const { table, old, new: row } of commit.changes) {
      if (table !== 's.audit') continue;
      expect(old).toEqual({ v });
      v = row?.['v'];
    }
    expect(v).toBe(310);
  });
});
