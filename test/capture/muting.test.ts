/** What a transaction's NOTIFY tells, by the locks of the leading instance. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { TELLING_BY_TRIED } from '../harness/telling.ts';

const LOCKS = { mute: 4, barrier: 5, calm: 6 } as const;
type Lock = keyof typeof LOCKS;

let database: Database;
let leader: pg.Client;
let writer: pg.Client;
let ear: pg.Client;
let heard: string[];

beforeAll(async () => {
  database = await createDatabase();
  await database.query(`create table item (id int generated always as identity primary key, n int, filler text);
    select rowcast.watch('item')`);
});
afterAll(() => database.drop());
beforeEach(async () => {
  [leader, writer, ear] = await Promise.all([database.client(), database.client(), database.client()]);
  heard = [];
  ear.on('notification', ({ payload = '' }) => heard.push(payload));
  await ear.query('listen rowcast; listen mark');
});
afterEach(() => Promise.all([leader.end(), writer.end(), ear.end()]));

/** How many advisory locks there are like this. */
async function locks(where = 'true'): Promise<number> {
  const { rowCount } = await database.query(
    `select from pg_locks where locktype = 'advisory' and ${where}
        and database = (select oid from pg_database where datname = current_database())`,
  );
  return rowCount ?? 0;
}

const take = (name: Lock, who = leader) =>
  who.query(`select pg_advisory_lock(hashtext('rowcast'), ${LOCKS[name]})`);
const giveBack = (name: Lock, who = leader) =>
  who.query(`select pg_advisory_unlock(hashtext('rowcast'), ${LOCKS[name]})`);

/** What the NOTIFYs tell that were sent up to now, in order, since the last time. */
async function told(): Promise<string[]> {
  await writer.query('notify mark');
  await until(() => heard.includes(''), { what: 'all notifications' });
  const kinds = heard
    .filter((payload) => payload !== '')
    .map((payload) => (payload.includes('\n') ? 'changes' : /^\d+$/.test(payload) ? 'read' : payload));
  heard.length = 0;
  return kinds;
}

/** Transactions of every kind that a NOTIFY is made for. */
const WORK = {
  'one row': 'insert into item (n) values (1)',
  'two statements': 'insert into item (n) values (1); update item set n = 2 where n = 1',
  'more than a NOTIFY holds': `insert into item (filler) values (repeat('x', 9000))`,
};

describe('a NOTIFY', () => {
  it.each(Object.entries(WORK))(
    'of %s says that there is something to read, where nobody leads',
    async (_, sql) => {
      await writer.query(sql);
      expect(await told()).toEqual(['read']);
    },
  );

  it.each(Object.entries(WORK))(
    'of %s has the changes where they fit, while the leader is calm',
    async (what, sql) => {
      await take('calm');
      await writer.query(sql);
      expect(await told()).toEqual([what === 'more than a NOTIFY holds' ? 'read' : 'changes']);
    },
  );

  it.each(Object.entries(WORK))(
    'of %s is not sent while the leader mutes; the log has it',
    async (_, sql) => {
      await take('mute');
      const before = await database.query('select from rowcast.log');
      await writer.query(sql);
      expect(await told()).toEqual([]);
      expect((await database.query('select from rowcast.log')).rowCount).toBe(Number(before.rowCount) + 1);
    },
  );

  it('is not sent as soon as the leader waits to mute', async () => {
    // Told to be read, it shares the lock until it ends.
    await writer.query('begin; insert into item (n) values (1); set constraints all immediate');
    const muting = take('mute');
    await until(async () => (await locks('not granted')) === 1, { what: 'the leader waits' });
    await database.query('insert into item (n) values (1)');
    await writer.query('rollback');
    await muting;
    expect(await told()).toEqual([]);
  });

  it.each(['held', 'waited for'])(
    'says that there is something to read while the barrier is %s',
    async (how) => {
      await take('mute');
      // Muted, it is waited for until it ends.
      if (how === 'waited for')
        await writer.query('begin; insert into item (n) values (1); set constraints all immediate');
      const waiting = take('barrier');
      const isSo = `objid = 5 and granted = ${how === 'held'} and mode = 'ExclusiveLock'`;
      await until(async () => (await locks(isSo)) === 1, { what: `the barrier is ${how}` });
      await database.query('insert into item (n) values (1)');
      if (how === 'waited for') await writer.query('commit');
      await waiting;
      expect(await told()).toEqual(['read']);
    },
  );

  it('is sent of what follows a muted first part', async () => {
    await take('mute');
    await writer.query('begin; insert into item (n) values (1); set constraints all immediate');
    await writer.query('insert into item (n) values (2); commit');
    expect(await told()).toEqual(['read']);
  });

  /** Has writers test their locks by a function of this body, and wait within it for as long as the leader has lock 1. */
  async function dawdling(tried: string, work: (writing: Promise<unknown>) => Promise<void>): Promise<void> {
    const telling = `select pg_get_functiondef('rowcast.tell_to_read(xid8)'::regprocedure) as sql`;
    const { rows } = await database.query<{ sql: string }>(telling);
    await database.query(
      `create function tried(lock int) returns boolean language plpgsql as $$ begin ${tried}; end $$; ${TELLING_BY_TRIED}`,
    );
    try {
      await leader.query('select pg_advisory_lock(1)');
      const writing = writer.query('insert into item (n) values (1)');
      await until(async () => (await locks('objid = 1 and not granted')) === 1, { what: 'the writer waits' });
      await work(writing);
    } finally {
      await database.query(`${rows[0]?.sql}; drop function tried(int)`);
    }
  }
  const WAIT = 'perform pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1)';
  const TRY = `pg_try_advisory_xact_lock_shared(hashtext('rowcast'), lock)`;

  it('is skipped only by who shares the barrier before, so that the leader waits for him', async () => {
    await take('mute');
    await dawdling(`if ${TRY} then return true; end if; ${WAIT}; return false`, async (writing) => {
      const barrier = await database.query(
        `select pg_try_advisory_xact_lock(hashtext('rowcast'), ${LOCKS.barrier}) as free`,
      );
      expect(barrier.rows).toEqual([{ free: false }]);
      await leader.query('select pg_advisory_unlock(1)');
      await writing;
      expect(await told()).toEqual([]);
    });
  });

  it('is not skipped by who finds that the leader mutes, but was calm meanwhile', async () => {
    await dawdling(`if lock = ${LOCKS.barrier} then ${WAIT}; end if; return ${TRY}`, async (writing) => {
      await take('calm');
      await take('mute');
      await leader.query('select pg_advisory_unlock(1)');
      await writing;
      expect(await told()).toEqual(['read']);
    });
  });

  it('is sent while the leader is calm, though it has begun to mute, of what a NOTIFY cannot carry', async () => {
    await take('calm');
    await take('mute');
    await writer.query(
      `alter table item add body text; insert into item (n, body) values (1, repeat('x', 9000))`,
    );
    expect(await told()).toEqual(['read']);
    await giveBack('mute');
    await giveBack('calm');
  });

  it('lets the leader calm, though who was told of dawdles', async () => {
    await take('barrier');
    await writer.query('begin; insert into item (n) values (1); set constraints all immediate');
    const calm = await leader.query(
      `select pg_try_advisory_lock(hashtext('rowcast'), ${LOCKS.calm}) as free`,
    );
    expect(calm.rows).toEqual([{ free: true }]);
    await giveBack('calm');
    await writer.query('commit');
    await giveBack('barrier');
    expect(await told()).toEqual(['read']);
  });

  it('waits for nobody, and leaves no lock behind', async () => {
    await take('barrier');
    await take('mute');
    await writer.query(`set lock_timeout = '1ms'; insert into item (n) values (1)`);
    expect(await told()).toEqual(['read']);
    await take('calm');
    await writer.query('insert into item (n) values (2)');
    expect(await told()).toEqual(['changes']);
    await giveBack('barrier');
    await giveBack('mute');
    await giveBack('calm');
    expect(await locks()).toBe(0);
  });
});
