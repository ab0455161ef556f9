/** Transactions that are muted from their beginning: they leave what others do, and nothing is done when they end. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const SCHEMA = `
  create schema s; set search_path = s;
  create table t (id int primary key, v text, at timestamptz not null default '2026-12-01 06:00+00');
  create table child (id int primary key, t int references t on delete cascade);
  create table deep (id int primary key, v int not null default 0);
  create function deeper() returns trigger language plpgsql as $$ begin
    if new.v < 3 then update deep set v = new.v + 1 where id = new.id; end if; return null; end $$;
  create trigger a_trigger after insert or update on deep for each row execute function deeper();
  select rowcast.watch('t'), rowcast.watch('child'), rowcast.watch('deep');
  insert into t values (1, 'a'), (2, 'b'), (3, 'c'); insert into child values (10, 1), (11, 1)`;
const END = 'reset all; set client_min_messages = warning; drop schema s cascade; select rowcast.prune()';

/** Whether rows of the log, since then, are where no trigger waits for the end. */
async function quiet(): Promise<boolean[]> {
  const { rows } = await database.query<{ quiet: boolean }>(
    'select slot >= 8 as quiet from rowcast.log order by id',
  );
  return rows.map((row) => row.quiet);
}

/** Has the session know that it is muted: by an update, so that nothing is there that was not. */
async function isTold(log: Captured): Promise<void> {
  await log.writer.query(`update t set v = v where id = 1; update t set v = 'a.' where id = 1`);
  await log.writer.query(`update t set v = 'a' where id = 1`);
}

const MANY = (count: number, bytes = 10) =>
  `insert into t select n, repeat('x', ${bytes}) from generate_series(101, ${100 + count}) n`;

/** Each is one message, and so one transaction; how many rows of the log it makes where it is muted, and whether quietly. */
const WORK: Readonly<Record<string, readonly [sql: string, quietly: boolean[]]>> = {
  'a row inserted': [`insert into t values (4, 'd')`, [true]],
  'three rows inserted': [`insert into t values (4, 'd'), (5, 'e'), (6, 'f')`, [true]],
  'twenty rows inserted, then one more': [MANY(21), [true]],
  'more rows than the quick way takes': [MANY(30), [false]],
  'rows that are too long for it': [MANY(15, 1000), [false]],
  'a row of 100 kB': [MANY(1, 100_000), [true]],
  'more than fits a row of the log': [MANY(300, 100), [false]],
  'a row updated': [`update t set v = 'z' where id = 1`, [true]],
  'its key updated': [`update t set id = 7 where id = 3`, [false]],
  'rows updated': [`update t set v = 'z'`, [false]],
  'nothing changed': [`update t set v = v where id = 1`, []],
  'nothing deleted': ['delete from t where id = 77', []],
  'a row deleted': ['delete from t where id = 2', [true]],
  'rows deleted': ['delete from t where id > 1', [true]],
  'a truncate': ['truncate t cascade', [false]],
  'an upsert that inserts': [
    `insert into t values (4, 'd') on conflict (id) do update set v = excluded.v`,
    [true],
  ],
  'an upsert that updates': [
    `insert into t values (1, 'd') on conflict (id) do update set v = excluded.v`,
    [true],
  ],
  'an upsert that does both': [
    `insert into t values (1, 'd'), (4, 'e') on conflict (id) do update set v = excluded.v`,
    [false],
  ],
  'two statements': [`insert into t values (4, 'd'); update t set v = 'e' where id = 4`, [false]],
  'one that follows one that changed nothing': [
    `update t set v = v where id = 2; delete from t where id = 2`,
    [true],
  ],
  'statements of several rows': [`${MANY(3)}; update t set v = 'z'; delete from t where id > 2`, [false]],
  'a large one after a small one': [`insert into t values (4, 'd'); ${MANY(300, 100)}`, [false]],
  'a message after a row': [
    `insert into t values (4, 'd'); select rowcast.publish('lobby', 'e', '{"a":1}')`,
    [false],
  ],
  'a message': [`select rowcast.publish('lobby', 'e', '{"a":1}')`, [false]],
  'a cascade': ['delete from t where id = 1', [false]],
  'a row that triggers update again, three deep': ['insert into deep values (1)', [false]],
  'a savepoint rolled back after it': [
    `insert into t values (4, 'd'); savepoint p; delete from t; rollback to p`,
    [true],
  ],
  'rolled back, and another': [
    `savepoint p; insert into t values (4, 'd'); rollback to p; insert into t values (5, 'e')`,
    [true],
  ],
  'rolled back after more': [
    `savepoint p; insert into t values (4, 'd'); insert into t values (5, 'e'); rollback to p; delete from t where id = 2`,
    [true],
  ],
  'constraints fired in the middle': [
    `insert into t values (4, 'd'); set constraints all immediate; delete from t where id = 2; update t set v = 'e' where id = 4`,
    [false, false, false],
  ],
  'a procedure that commits': [
    `do $$ begin for n in 4 .. 6 loop insert into t values (n, 'd'); commit; end loop; end $$`,
    [true, true, true],
  ],
};

/** Implicit transactions have no savepoints. */
const asSent = (sql: string) => (sql.includes('savepoint') ? `begin; ${sql}; commit` : sql);

interface Left {
  texts: string[][];
  quiet: boolean[];
}

/** What each piece of work leaves, by one session. */
async function leave(muting: boolean, set = ''): Promise<Map<string, Left>> {
  const log = await captured(database, muting);
  const left = new Map<string, Left>();
  try {
    for (const [what, [sql]] of Object.entries(WORK)) {
      await log.writer.query(`${SCHEMA}; ${set}`);
      await isTold(log);
      const before = (await quiet()).length;
      const commits = await log.of(asSent(sql));
      left.set(what, { texts: commits.map(({ texts }) => texts), quiet: (await quiet()).slice(before) });
      await log.writer.query(END);
    }
  } finally {
    await log.close();
  }
  return left;
}

describe.each([
  ['in UTC', ''],
  ['elsewhere', `set timezone = 'Asia/Kathmandu'`],
])('what is muted from its beginning, %s', (_, set) => {
  let calm: Map<string, Left>;
  let muted: Map<string, Left>;
  beforeAll(async () => {
    calm = await leave(false, set);
    muted = await leave(true, set);
  });

  it.each(Object.entries(WORK))('is all there: %s', (what, [, quietly]) => {
    expect(muted.get(what)?.texts).toEqual(calm.get(what)?.texts);
    expect(muted.get(what)?.quiet).toEqual(quietly);
    expect(calm.get(what)?.quiet).not.toContain(true);
  });
});

describe('a session that was muted', () => {
  let log: Captured;
  beforeEach(async () => {
    log = await captured(database, true);
    await log.writer.query(SCHEMA);
    await isTold(log);
  });
  afterEach(async () => {
    await log.writer.query(`rollback; ${END}`);
    await log.close();
  });
  const state = async () =>
    (await log.writer.query<{ state: string }>(`select current_setting('rowcast.state') as state`)).rows[0]
      ?.state;
  it('knows so in its next transaction, and sends no NOTIFY', async () => {
    const [commit] = await log.of(`insert into t values (4, 'd')`);
    expect(commit).toMatchObject({ rows: 1, notifies: 0 });
    expect([await state(), (await quiet()).at(-1)]).toEqual(['(muted)', true]);
  });

  it('takes its time where it began a transaction by itself', async () => {
    await log.writer.query('begin');
    await log.writer.query('select pg_sleep(0.001)');
    const [commit] = await log.of(`insert into t values (4, 'd'); commit`);
    expect(commit).toMatchObject({ rows: 1, notifies: 0 });
    expect((await quiet()).at(-1)).toBe(false);
  });

  it('is waited for by the leader from its first statement on', async () => {
    const gate = await database.client();
    try {
      await gate.query('select pg_advisory_lock(1)');
      const writing = log.writer.query(`insert into t values (4, 'd'); select pg_advisory_xact_lock(1)`);
      await until(
        async () =>
          (
            await database.query(
              `select from pg_locks where locktype = 'advisory' and objid = 1 and not granted`,
            )
          ).rowCount === 1,
        { what: 'it waits within its transaction' },
      );
      const barrier = await gate.query(`select pg_try_advisory_lock(hashtext('rowcast'), 5) as free`);
      expect(barrier.rows).toEqual([{ free: false }]);
      await gate.query('select pg_advisory_unlock(1)');
      await writing;
      expect((await quiet()).at(-1)).toBe(true);
    } finally {
      await gate.end();
    }
  });

  it.each([
    ['calm', 6],
    ['at the barrier', 5],
  ])('notifies where the leader is %s', async (_, lock) => {
    const leader = await database.client();
    try {
      await leader.query(`select pg_advisory_lock(hashtext('rowcast'), ${lock})`);
      const [commit] = await log.of(`insert into t values (4, 'd')`);
      expect(commit).toMatchObject({ rows: 1, notifies: 1, inline: lock === 6 });
      expect([await state(), (await quiet()).at(-1)]).toEqual(['', false]);
    } finally {
      await leader.end();
    }
  });

  it('follows where another slot is written, and leaves nothing behind that is not pruned', async () => {
    await log.writer.query(`insert into t values (4, 'd')`);
    const [first] = await log.of(`insert into t values (5, 'e')`);
    await database.query(`select rowcast.prune('0')`);
    await log.of(`insert into t values (6, 'f'), (7, 'g')`);
    const slots = `select array_agg(distinct slot % 8) as slots, bool_or(slot >= 8) as quiet from rowcast.log where xid > '${first?.xid}'`;
    const [now] = (await database.query(`select rowcast.slot() as slot`)).rows;
    expect((await database.query(slots)).rows).toEqual([{ slots: [now?.['slot']], quiet: true }]);
    await database.query(`select rowcast.prune('0')`);
    expect((await database.query(`select from rowcast.log where xid <= '${first?.xid}'`)).rowCount).toBe(0);
  });
});
