/** Where a feed begins: before the latest commits, which it recalls and tells nobody of. */
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import pg from 'pg';
import { createFeed, type Feed } from '../src/feed.ts';
import { createLogReader, type LogReader } from '../src/postgres/log.ts';
import { createMessages } from '../src/postgres/messages.ts';
import { createDatabase, type Database } from './harness/database.ts';

let database: Database;
let pool: pg.Pool;
/** What was committed small, in order. */
const xids: bigint[] = [];
const feeds: Feed[] = [];

async function commit(sql: string): Promise<bigint> {
  const { rows } = await pool.query<{ xid: string }>(`${sql} returning pg_current_xact_id()::text as xid`);
  return BigInt(rows[0]?.xid ?? 0);
}

async function newest(): Promise<bigint> {
  const { rows } = await pool.query<{ xid: string }>(
    'select xid::text from rowcast.log order by id desc limit 1',
  );
  return BigInt(rows[0]?.xid ?? 0);
}

beforeAll(async () => {
  database = await createDatabase();
  pool = new pg.Pool({ connectionString: database.url, max: 2 });
  await pool.query(`create table item (id int primary key); select rowcast.watch('item')`);
  await commit('insert into item values (1)');
  await pool.query('insert into item select generate_series(1001, 21000)');
  for (const id of [2, 3]) xids.push(await commit(`insert into item values (${id})`));
  // What asks for something to be done, once.
  await createMessages(pool).announce('{"asked":1}');
  xids.push(await newest());
  await pool.query(`select rowcast.watch('item', access => 'public')`);
  xids.push(await newest(), await commit('insert into item values (4)'));
});
afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.stop();
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

interface Begun {
  /** Since it began last. */
  recalled: bigint[];
  beginnings: number;
  /** Whatever else it told. */
  told: string[];
}

async function begin(log: LogReader = createLogReader(pool)): Promise<Begun> {
  const begun: Begun = { recalled: [], beginnings: 0, told: [] };
  const feed = createFeed({
    log,
    onRecalled: ({ xid }) => void begun.recalled.push(xid),
    onBegin() {
      begun.beginnings++;
      begun.recalled = [];
    },
    onPage: ({ xid }) => void begun.told.push(`commit ${xid}`),
    onGap: (reason) => begun.told.push(reason),
    onWatchingChanged: async () => void begun.told.push('watching'),
    onAnnounced: (what) => begun.told.push(what),
    onRespelled() {},
    observe: ({ type }) => type === 'feed.commit' && begun.told.push(type),
  });
  feeds.push(feed);
  const started = feed.start();
  feed.onConnected();
  await started;
  return begun;
}

it('goes back to a large commit, and does nothing that they asked for', async () => {
  expect(await begin()).toEqual({ recalled: xids, beginnings: 1, told: [] });
});

it('begins anew where its first read was broken off', async () => {
  const reader = createLogReader(pool);
  let commits = 0;
  const breaking: LogReader = {
    read: (from, begins, each) =>
      reader.read(from, begins, async (logged, snapshot) => {
        if (++commits === 3) throw new Error('broken off');
        return each(logged, snapshot);
      }),
  };
  expect(await begin(breaking)).toEqual({ recalled: xids, beginnings: 2, told: [] });
});

it('goes back no further than the log was pruned', async () => {
  await pool.query('update rowcast.install set pruned_xid = $1::text::xid8', [String(xids[0])]);
  expect(await begin()).toMatchObject({ recalled: xids.slice(1), told: [] });
});

it('goes back a minute', async () => {
  await pool.query(`update rowcast.log set at = at - interval '61 s' where xid = $1::text::xid8`, [
    String(xids[1]),
  ]);
  expect(await begin()).toMatchObject({ recalled: xids.slice(2), told: [] });
});
