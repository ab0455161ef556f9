/** Tables that are altered while they are subscribed to: nobody is shown another table's rows, nor left in silence. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createDatabase, type Database } from './harness/database.ts';
import { type Instance, startInstance } from './harness/instance.ts';

let database: Database;
let instance: Instance;

beforeEach(async () => {
  database = await createDatabase();
  await database.query(`create type mood as enum ('sad', 'happy');
    create table open (id int primary key, n int, mood mood);
    create table closed (id int primary key, n int, mood mood);
    select rowcast.watch('open', access => 'public');
    select rowcast.watch('closed');
    insert into open values (1, 7, 'sad');
    insert into closed values (1, 666, 'sad')`);
  instance = await startInstance(database.url);
});
afterEach(async () => {
  await instance.stop();
  await database.drop();
});

const subscribed = (...topics: string[]) => instance.subscriber(...topics);

/** Asks for a snapshot until there is one: the first may find the table just changed. */
async function snapshotOf(topic: string): Promise<unknown> {
  const client = await instance.client();
  for (let n = 0; ; n++) {
    client.send({ type: 'subscribe', id: `s${n}`, topic, snapshot: true });
    const answer = await Promise.race([
      client.next('snapshot', ({ id }) => id === `s${n}`),
      client.next('error', ({ id }) => id === `s${n}`),
    ]);
    if (answer['code'] === 'unavailable' && n < 3) continue;
    await client.close();
    return answer['rows'] ?? answer['code'];
  }
}

const SWAP = `begin; alter table open rename to aside; alter table closed rename to open;
  alter table aside rename to closed; commit`;

describe('a table that is renamed', () => {
  it('whose name another one takes, ends what was subscribed to, and shows nothing of the other', async () => {
    const client = await subscribed('open', 'open?n=gt.0');
    await database.query(SWAP);
    await database.query('insert into open values (2, 666)');
    await database.query('insert into closed values (2, 8)');
    expect(await client.next('error', ({ id }) => id === 'open')).toMatchObject({ code: 'bad_topic' });
    expect(await client.next('error', ({ id }) => id === 'open?n=gt.0')).toMatchObject({ code: 'bad_topic' });
    expect(client.texts.join()).not.toContain('666');
    expect(client.frames.filter(({ type }) => type === 'change')).toHaveLength(2);
    await client.close();
  });

  it('whose name another one takes, gives no snapshot of the other', async () => {
    const client = await subscribed('open');
    const rows = instance.observed.since();
    await database.query(SWAP);
    // Before anything was noticed.
    client.send({ type: 'unsubscribe', id: 'open' });
    client.send({ type: 'subscribe', id: 's', topic: 'open', snapshot: true });
    expect(await client.next('error')).toMatchObject({ id: 's', code: 'unavailable' });
    await rows.next('catalog.loaded');
    expect(await snapshotOf('open')).toBe('bad_topic');
    expect(await snapshotOf('closed')).toEqual([{ id: 1, n: 7, mood: 'sad' }]);
    expect(client.texts.join()).not.toContain('666');
    await client.close();
  });

  it.each([
    ['renamed', 'alter table open rename to other', 'other'],
    ['moved to another schema', 'create schema s; alter table open set schema s', 's.open'],
  ])('or %s, is noticed without a commit, and goes on under its new name', async (_, sql, now) => {
    const client = await subscribed('open');
    await database.query(sql);
    expect(await client.next('error')).toMatchObject({ code: 'bad_topic', id: 'open' });
    const { rows } = await database.query(`select watched."table"::text from rowcast.watched order by 1`);
    expect(rows).toContainEqual({ table: now });
    client.send({ type: 'subscribe', id: 'b', topic: now });
    await client.next('subscribed');
    await database.query(`insert into ${now} values (3, 9)`);
    const table = now.includes('.') ? now : `public.${now}`;
    expect(await client.next('change')).toMatchObject({
      topic: table,
      changes: [{ table, new: { id: 3, n: 9, mood: null } }],
    });
    await client.close();
  });
});

describe('a table that is dropped', () => {
  it('ends what was subscribed to', async () => {
    const client = await subscribed('open');
    await database.query('drop table open');
    expect(await client.next('error')).toMatchObject({ code: 'bad_topic', id: 'open' });
    await client.close();
  });

  it('and made anew in one turn, is another one: its cursors are too', async () => {
    const client = await subscribed('open');
    await database.query('insert into open values (2, 8)');
    const { cursor } = await client.next('change');
    await database.query(`begin; drop table open; create table open (id int primary key);
      select rowcast.watch('open', access => 'public'); insert into open values (1); commit`);
    expect(await client.next('error')).toMatchObject({ code: 'bad_topic', id: 'open' });
    client.send({ type: 'subscribe', id: 'b', topic: 'open', since: cursor });
    expect(await client.next('reset')).toMatchObject({ reason: 'cursor_expired' });
    await database.query('insert into open values (2)');
    expect(await client.next('change')).toMatchObject({ changes: [{ new: { id: 2 } }] });
    await client.close();
  });
});

describe('a column', () => {
  it('of another type ends the filters on it, and snapshots go by what it is now', async () => {
    const client = await subscribed('open', 'open?n=eq.7', 'open?id=eq.1');
    await database.query(`alter table open alter n type text using n || ' apples'`);
    expect(await client.next('error')).toMatchObject({ code: 'bad_topic', id: 'open?n=eq.7' });
    expect(await snapshotOf('open?n=eq.7')).toEqual([]);
    expect(await snapshotOf('open?n=eq.7 apples')).toEqual([{ id: 1, n: '7 apples', mood: 'sad' }]);
    await database.query('update open set id = 1');
    await database.query(`update open set n = '8 apples'`);
    await client.next('change', ({ topic }) => topic === 'public.open?id=eq.1');
    expect(client.frames.filter(({ type }) => type === 'error')).toHaveLength(1);
    await client.close();
  });

  it('of another type is no fault of the database for a snapshot that was asked for before it was noticed', async () => {
    const client = await subscribed('open?n=gt.5');
    await database.query('alter table open alter n type text');
    expect(await snapshotOf('open?n=gt.5')).toEqual([{ id: 1, n: '7', mood: 'sad' }]);
    await client.close();
  });

  it('that is dropped and added again ends the filters on it', async () => {
    const client = await subscribed('open?n=eq.7');
    await database.query('alter table open drop n, add n boolean');
    expect(await client.next('error')).toMatchObject({ code: 'bad_topic', id: 'open?n=eq.7' });
    expect(await snapshotOf('open?n=is.null')).toEqual([{ id: 1, n: null, mood: 'sad' }]);
    await client.close();
  });

  it('whose enum gets a label keeps the filters that do not ask for its order', async () => {
    const client = await subscribed('open?mood=eq.sad', 'open?mood=gt.sad');
    await database.query(`alter type mood add value 'ok' before 'happy'`);
    // What a renamed column makes it look at again.
    await database.query('alter table open rename n to m');
    expect(await client.next('error')).toMatchObject({ code: 'bad_topic', id: 'open?mood=gt.sad' });
    await database.query(`update open set m = 8`);
    expect(await client.next('change')).toMatchObject({ topic: 'public.open?mood=eq.sad' });
    await client.close();
  });
});
