/** Reads of the log: what they look at. */
import { afterAll, beforeAll, expect, it, jest } from '@jest/globals';
import pg from 'pg';
import { positionAt } from '../src/position.ts';
import { createLogReader } from '../src/postgres/log.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { serverMajor } from './harness/suite.ts';

/** Before 15 a session's figures come when they come. */
const itWithFigures = (await serverMajor()) >= 15 ? it : it.skip;
const COMMITS = 5_000;

let database: Database;
let pool: pg.Pool;

beforeAll(async () => {
  database = await createDatabase();
  await database.query(`create table item (id int generated always as identity primary key, n int);
    select rowcast.watch('item')`);
  // One connection, which knows of what it read itself. Its planner would rather look through everything.
  pool = new pg.Pool({ connectionString: database.url, max: 1, options: '-c random_page_cost=100' });
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

/** How many rows of the log were looked at so far. */
async function looks(): Promise<number> {
  await pool.query('select pg_stat_force_next_flush()');
  const { rows } = await pool.query<{ looks: number }>(
    `select (select sum(seq_tup_read) from pg_stat_user_tables where schemaname = 'rowcast' and relname ~ '^log_\\d')::int
          + (select sum(idx_tup_read) from pg_stat_user_indexes where schemaname = 'rowcast' and relname ~ '^log_\\d')::int as looks`,
  );
  return rows[0]?.looks ?? Number.NaN;
}

itWithFigures(
  'looks at what a position lacks, not at the log before it, though nobody has analysed that',
  async () => {
    await pool.query(`do $$ begin
    for n in 1 .. ${COMMITS} loop insert into item (n) values (n); commit; end loop;
  end $$`);
    const reader = createLogReader(pool);
    const here = await reader.read(
      () => null,
      () => false,
      async () => true,
    );
    await pool.query('insert into item (n) values (0)');
    const before = await looks();
    const read: string[] = [];
    await reader.read(
      () => ({ position: positionAt(here), first: [] }),
      () => true,
      async ({ body }) => {
        read.push(body ?? '');
        return true;
      },
    );

    expect(read).toEqual([expect.stringContaining('"n": 0')]);
    expect((await looks()) - before).toBeLessThan(10);
  },
);

it('gives a transaction of several parts once, by its last', async () => {
  const reader = createLogReader(pool);
  const here = await reader.read(
    () => null,
    () => false,
    async () => true,
  );
  await pool.query(`begin; set constraints all immediate; insert into item (n) values (1);
    insert into item (n) values (2); insert into item (n) values (3); commit`);
  const read: number[] = [];
  await reader.read(
    () => ({ position: positionAt(here), first: [] }),
    () => true,
    async ({ parts }) => {
      read.push(parts);
      return true;
    },
  );

  expect(read).toEqual([3]);
});

it('asks once for what is little, and reads anew where the moment changes what it reads from', async () => {
  const reader = createLogReader(pool);
  const moment = () =>
    reader.read(
      () => null,
      () => false,
      () => true,
    );
  const before = await moment();
  await pool.query('insert into item (n) values (7)');
  const between = await moment();
  await pool.query('insert into item (n) values (8)');
  const queries = jest.spyOn(pg.Client.prototype, 'query');
  async function readFrom(first: typeof before, then: typeof before): Promise<[string[], number]> {
    let position = positionAt(first);
    const read: string[] = [];
    queries.mockClear();
    await reader.read(
      () => ({ position, first: [] }),
      () => {
        position = positionAt(then);
        return true;
      },
      ({ body }) => {
        read.push(/"n": (\d+)/.exec(body ?? '')?.[1] ?? '');
        return true;
      },
    );
    return [read, queries.mock.calls.length];
  }

  // Nothing is known of how much it will be.
  expect(await readFrom(before, before)).toEqual([['7', '8'], 2]);
  expect(await readFrom(before, before)).toEqual([['7', '8'], 1]);
  expect(await readFrom(before, between)).toEqual([['8'], 3]);
  expect(await readFrom(before, between)).toEqual([['8'], 1 + 2]);
  expect(await readFrom(between, before)).toEqual([['7', '8'], 1 + 2]);
  queries.mockRestore();
});

it('reads many commits, and a large one, once each, also after reads of few', async () => {
  const reader = createLogReader(pool);
  let here = await reader.read(
    () => null,
    () => false,
    () => true,
  );
  async function next(): Promise<number[]> {
    const lengths: number[] = [];
    here = await reader.read(
      () => ({ position: positionAt(here), first: [] }),
      () => true,
      async ({ bodies }) => {
        let lines = 0;
        for await (const body of bodies()) lines += body.split('\n').length - 1;
        lengths.push(lines);
        return true;
      },
    );
    return lengths;
  }

  for (let round = 0; round < 2; round++) {
    for (let few = 0; few < 2; few++) {
      await pool.query('insert into item (n) values (1)');
      expect(await next()).toEqual([1]);
    }
    await pool.query(
      'do $$ begin for n in 1 .. 450 loop insert into item (n) values (n); commit; end loop; end $$',
    );
    expect(await next()).toEqual(Array(450).fill(1));
    expect(await next()).toEqual([]);
    await pool.query('insert into item (n) values (1)');
    await pool.query('insert into item (n) select generate_series(1, 20000)');
    await pool.query('insert into item (n) values (1)');
    expect(await next()).toEqual([1, 20_000, 1]);
  }
});

it('says what to do where nothing is installed', async () => {
  const reader = createLogReader(pool);
  await pool.query('delete from rowcast.install');
  const read = reader.read(
    () => null,
    () => false,
    () => true,
  );

  await expect(read).rejects.toThrow('apply migrations/001_schema.sql again');
});
