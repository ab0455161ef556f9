/** Filters, end to end: what subscribers of a filtered topic are told of rows that change in PostgreSQL. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createDatabase, type Database } from './harness/database.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import type { Frame, Socket } from './harness/socket.ts';

let database: Database;
let instance: Instance;

beforeAll(async () => {
  database = await createDatabase();
  await database.query(`create type mood as enum ('sad', 'ok', 'happy');
    create table item (id bigint primary key, big bigint, total numeric, room int, note text, mood mood, secret text);
    select rowcast.watch('item', access => 'public', columns => array['id', 'big', 'total', 'room', 'note', 'mood']);
    create table renamed (id int primary key, a int);
    select rowcast.watch('renamed', access => 'public')`);
  instance = await startInstance(database.url);
});
afterAll(async () => {
  await instance.stop();
  await database.drop();
});
beforeEach(async () => {
  const seen = instance.observed.since();
  await database.query('truncate item');
  // Else it may be taken for the mark that ends what a test looks at.
  await seen.next('feed.commit');
});

const subscribed = (...topics: string[]) => instance.subscriber(...topics);

async function refused(topic: string): Promise<Frame> {
  const client = await instance.client();
  client.send({ type: 'subscribe', id: 'a', topic });
  const error = await client.next('error');
  await client.close();
  return error;
}

/** Does the work, and gives the changes that the client was told of since, each with its topic. */
async function told(client: Socket, sql: string): Promise<unknown[]> {
  const begun = client.texts.length;
  client.send({ type: 'subscribe', id: `mark ${begun}`, topic: 'item:truncate' });
  await client.next('subscribed');
  await database.query(sql);
  // The frames of one transaction come together, those of the next after them.
  await database.query('truncate item');
  await client.next('change', (frame) => frame['topic'] === 'public.item:truncate' && isMark(frame));
  client.send({ type: 'unsubscribe', id: `mark ${begun}` });
  await client.next('unsubscribed');
  return client.texts.slice(begun).flatMap((text) => {
    const { type, topic, changes = [] } = JSON.parse(text);
    if (type !== 'change' || topic === 'public.item:truncate') return [];
    return changes
      .filter(({ op }: { op: string }) => op !== 'truncate')
      .map((change: object) => ({ topic, ...change }));
  });
}

function isMark(frame: Frame): boolean {
  return JSON.stringify(frame['changes']).includes('"truncate"');
}

describe('a filter', () => {
  it('tells apart numbers past 2^53', async () => {
    const client = await subscribed('item?big=eq.9007199254740993');
    const begun = client.texts.length;
    const changes = await told(
      client,
      `insert into item (id, big) values (1, 9007199254740992), (2, 9007199254740993), (3, 9007199254740994)`,
    );
    expect(changes).toMatchObject([{ op: 'insert', key: { id: 2 }, effect: 'enter' }]);
    expect(client.texts.slice(begun).join()).toContain('"big": 9007199254740993');
    await client.close();
  });

  it('is one topic however its number is spelled', async () => {
    const client = await subscribed('item?total=eq.7');
    const other = await instance.client();
    other.send({ type: 'subscribe', id: 'b', topic: 'item?total=eq.7.00' });
    expect(await other.next('subscribed')).toMatchObject({ id: 'b', topic: 'public.item?total=eq.7' });
    await other.close();
    const changes = await told(client, `insert into item (id, total) values (1, 7), (2, 7.000), (3, 7.001)`);
    expect(changes).toMatchObject([
      { topic: 'public.item?total=eq.7', key: { id: 1 }, new: { total: 7 }, effect: 'enter' },
      { topic: 'public.item?total=eq.7', key: { id: 2 }, effect: 'enter' },
    ]);
    expect(client.texts.join()).toContain('"total": 7.000');
    await client.close();
  });

  it('with a value that is none is refused in PostgreSQL’s words', async () => {
    expect(await refused('item?total=eq.seven')).toMatchObject({
      code: 'bad_topic',
      message: 'the filter on total: invalid input syntax for type numeric: "seven"',
    });
    expect(await refused('item?id=in.(1,99999999999999999999)')).toMatchObject({
      code: 'bad_topic',
      message: 'the filter on id: value "99999999999999999999" is out of range for type bigint',
    });
  });

  it('on a column that is not published is refused as on one that does not exist', async () => {
    const [secret, absent] = [await refused('item?secret=eq.x'), await refused('item?absent=eq.x')];
    expect(secret).toMatchObject({ code: 'bad_topic' });
    expect(String(secret['message']).replace('secret', 'absent')).toBe(absent['message']);
  });

  it('tells of a row that enters, stays and leaves', async () => {
    const client = await subscribed('item?room=eq.7', 'item?room=in.(7,8)&note=ilike.*A*');
    const changes = await told(
      client,
      `insert into item (id, room, note) values (1, 7, 'abc'), (2, 9, 'abc'), (3, null, null);
       update item set note = 'bcA' where id = 1;
       update item set room = 8 where id = 1;
       update item set note = 'none' where id = 1;
       update item set room = 7 where id > 1`,
    );
    const [first, second] = ['public.item?room=eq.7', 'public.item?note=ilike.%25A%25&room=in.(7,8)'];
    const of = (topic: string | undefined) =>
      changes.flatMap((change) => {
        const { topic: own, key, effect } = change as { topic: string; key: { id: number }; effect: string };
        return own === topic ? [`${key.id} ${effect}`] : [];
      });
    expect(of(first)).toEqual(['1 enter', '1 stay', '1 leave', '2 enter', '3 enter']);
    expect(of(second)).toEqual(['1 enter', '1 stay', '1 stay', '1 leave', '2 enter']);
    await client.close();
  });

  it.each([
    ['an update', 'update item set room = 8', []],
    ['a delete', 'delete from item', []],
    ['a change of its key', 'update item set id = 2, room = 8', []],
    ['a change of its key alone', 'update item set id = 2', [{ key: { id: 2 }, effect: 'enter' }]],
    ['a NULL', 'update item set room = null', []],
  ])('tells of a row that leaves by %s: once, its key alone', async (_, sql, after) => {
    const client = await subscribed('item?room=eq.7');
    const [entered, left, ...rest] = await told(
      client,
      `insert into item (id, room, note) values (1, 7, 'a'); ${sql}`,
    );
    expect(entered).toMatchObject({ effect: 'enter' });
    expect(left).toEqual({
      topic: 'public.item?room=eq.7',
      op: sql.startsWith('update item set room') ? 'update' : 'delete',
      table: 'public.item',
      key: { id: 1 },
      effect: 'leave',
    });
    expect(rest).toMatchObject(after);
    await client.close();
  });

  it('passes a truncate, without effect', async () => {
    const client = await subscribed('item?room=eq.7');
    await database.query('truncate item');
    const frame = await client.next('change', isMark);
    expect(frame['changes']).toEqual([{ op: 'truncate', table: 'public.item' }]);
    await client.close();
  });

  it('orders an enum by its labels', async () => {
    const client = await subscribed('item?mood=gte.ok');
    const changes = await told(
      client,
      `insert into item (id, mood) values (1, 'sad'), (2, 'ok'), (3, 'happy')`,
    );
    expect(changes).toMatchObject([{ key: { id: 2 } }, { key: { id: 3 } }]);
    await client.close();
  });

  it('ends with bad_topic when an enum has got a label whose place it does not know', async () => {
    const client = await subscribed('item?mood=lt.happy', 'item?mood=eq.ok');
    await database.query(`alter type mood add value 'fine' after 'ok'`);
    await database.query(`insert into item (id, mood) values (1, 'fine')`);
    expect(await client.next('error')).toMatchObject({ id: 'item?mood=lt.happy', code: 'bad_topic' });
    client.send({ type: 'subscribe', id: 'again', topic: 'item?mood=lt.happy' });
    await client.next('subscribed');
    const changes = await told(
      client,
      `insert into item (id, mood) values (2, 'fine'), (3, 'happy'), (4, 'ok')`,
    );
    expect(changes).toMatchObject([
      { topic: 'public.item?mood=lt.happy', key: { id: 2 } },
      { topic: 'public.item?mood=lt.happy', key: { id: 4 } },
      { topic: 'public.item?mood=eq.ok', key: { id: 4 } },
    ]);
    await client.close();
  });

  it('ends with bad_topic when its column is no more, and nothing else ends', async () => {
    const client = await subscribed('renamed?a=eq.7', 'renamed?a=gt.7', 'renamed');
    await database.query('alter table renamed rename column a to b');
    await database.query('insert into renamed values (1, 7)');
    const ended = [await client.next('error'), await client.next('error')];
    expect(ended.map(({ id, code }) => [id, code]).sort()).toEqual([
      ['renamed?a=eq.7', 'bad_topic'],
      ['renamed?a=gt.7', 'bad_topic'],
    ]);
    expect(ended[0]?.['message']).toContain('public.renamed has no column "a" here');
    client.send({ type: 'subscribe', id: 'b', topic: 'renamed?b=eq.7' });
    expect(await client.next('subscribed')).toMatchObject({ topic: 'public.renamed?b=eq.7' });
    await database.query('insert into renamed values (2, 7)');
    await client.next('change', ({ topic }) => topic === 'public.renamed?b=eq.7');
    expect(client.frames.filter(({ type }) => type === 'error')).toHaveLength(2);
    await client.close();
  });
});
