/** The client against the service: two pages, a shared topic, messages, and what is denied. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createClient, type MessageFrame, RowcastError, type Transaction } from '../src/client.ts';
import { hasRows, hasStatus, type Site, startSite } from './client/site.ts';
import { until } from './harness/facts.ts';

let site: Site;
beforeAll(async () => {
  site = await startSite(
    'create table item (id int primary key, name text); create table other (id int primary key)',
    ['item', 'other'],
    { ROWCAST_CHANNELS: 'lobby:join+publish+public' },
  );
});
afterAll(() => site.close());
afterEach(async () => {
  await site.empty('item', 'other');
  expect(site.reported).toEqual([]);
});

describe('a client', () => {
  it('tells one page what another one inserts', async () => {
    const [one, two] = [site.client().live('item'), site.client().live('item')];
    await hasStatus(one, 'live');
    await hasStatus(two, 'live');
    await site.database.query(`insert into item values (2, 'b'), (1, 'a')`);
    const rows = [
      { id: 1, name: 'a' },
      { id: 2, name: 'b' },
    ];
    await hasRows(one, rows);
    await hasRows(two, rows);
  });

  it('hands on each transaction once, whole, with its cursor', async () => {
    const taken: Transaction[] = [];
    const client = site.client();
    const subscription = client.subscribe('item', {
      onChange: (changes, at) => taken.push({ changes, ...at }),
    });
    await hasStatus(subscription, 'live');
    expect(subscription.topic).toBe('public.item');
    await site.database.query(`begin; insert into item values (1, 'a'); update item set name = 'b'; commit`);
    await site.database.query('delete from item');
    await until(() => taken.length === 2, { what: 'two transactions' });
    expect(taken.map(({ changes }) => changes.map(({ op }) => op))).toEqual([
      ['insert', 'update'],
      ['delete'],
    ]);
    expect(taken[0]?.at).toMatch(/^\d{4}-.*Z$/);
  });

  it('gathers a large transaction', async () => {
    const sizes: number[] = [];
    const live = site.client().live('item', { order: 'id.desc' });
    await hasStatus(live, 'live');
    live.subscribe(() => sizes.push(live.rows.length));
    await site.database.query(`insert into item select i, repeat('x', 100) from generate_series(1, 20000) i`);
    await until(() => live.rows.length === 20_000, { what: 'all rows' });
    expect(sizes).toEqual([20_000]);
    expect(live.rows[0]?.['id']).toBe(20_000);
  });

  it('begins with a snapshot, and goes on', async () => {
    await site.database.query(`insert into item values (1, 'a'), (2, 'b'), (3, 'c')`);
    const seen: unknown[] = [];
    const subscription = site.client().subscribe('item', {
      snapshot: { order: 'id.desc', limit: 2 },
      onSnapshot: (rows) => seen.push(rows.map(({ id }) => id)),
      onChange: (changes) => seen.push(changes[0]?.op),
    });
    await hasStatus(subscription, 'live');
    await site.database.query(`update item set name = 'd' where id = 1`);
    await until(() => seen.length === 2, { what: 'a snapshot and a change' });
    expect(seen).toEqual([[3, 2], 'update']);
  });

  it('gives transactions to a loop, and ends with it', async () => {
    const client = site.client();
    const ids: unknown[] = [];
    const loop = (async () => {
      for await (const { changes } of client.changes('item')) {
        for (const change of changes) if ('key' in change) ids.push(change.key['id']);
        if (ids.length >= 2) break;
      }
    })();
    await hasStatus(client, 'open');
    const live = client.live('item');
    await hasStatus(live, 'live');
    await site.database.query('insert into item values (1)');
    await site.database.query('insert into item values (2)');
    await loop;
    expect(ids).toEqual([1, 2]);
  });

  it('throws into a loop what was denied', async () => {
    const denied = site.client().changes('nowhere').next();
    await expect(denied).rejects.toMatchObject({ name: 'RowcastError', code: 'bad_topic' });
  });

  it('sends and hears messages', async () => {
    const channel = site.client().channel('lobby');
    const heard: unknown[] = [];
    const off = channel.on('said', (payload, { from, event }) => heard.push([payload, from, event]));
    const frames: MessageFrame[] = [];
    const subscription = site.client().subscribe('#lobby', { onMessage: (frame) => frames.push(frame) });
    await hasStatus(subscription, 'live');
    const other = site.client().channel('lobby');
    await until(
      async () => {
        await other.publish('said', { text: 'hello' });
        return heard.length > 0;
      },
      { what: 'a message' },
    );
    expect(heard[0]).toEqual([{ text: 'hello' }, null, 'said']);
    expect(frames[0]).toMatchObject({ event: 'said', payload: { text: 'hello' } });
    await other.publish('else');
    // What JSON cannot hold is its sender's fault alone, with a connection and without one.
    await expect(other.publish('said', 7n)).rejects.toBeInstanceOf(TypeError);
    const fresh = site.client().channel('lobby');
    await expect(fresh.publish('said', 7n)).rejects.toBeInstanceOf(TypeError);
    await fresh.publish('else');
    off();
    await expect(other.publish('', 1)).rejects.toMatchObject({ code: 'bad_frame' });
    await expect(site.client().channel('closed').publish('said')).rejects.toMatchObject({
      code: 'forbidden',
    });
    await expect(site.client().inbox.send('anna', 'said')).rejects.toBeInstanceOf(RowcastError);
  });

  it('says what was denied, and goes on with the rest', async () => {
    const client = site.client();
    const errors: unknown[] = [];
    const denied = client.live('nowhere');
    const subscription = client.subscribe('item?id=eq.x', { onError: (error) => errors.push(error) });
    const live = client.live('item');
    await hasStatus(denied, 'denied');
    await hasStatus(subscription, 'denied');
    await hasStatus(live, 'live');
    expect(denied.error).toMatchObject({ code: 'bad_topic' });
    expect(errors).toEqual([
      expect.objectContaining({ code: 'bad_topic', message: expect.stringContaining('"x"') }),
    ]);
  });

  it('survives what listeners throw, and reports it', async () => {
    const thrown: unknown[] = [];
    const client = site.client({ onError: (error) => thrown.push(error) });
    const live = client.live('item');
    live.subscribe(() => {
      throw new Error('of a listener');
    });
    const subscription = client.subscribe('item', {
      onChange: () => {
        throw new Error('of a handler');
      },
    });
    await hasStatus(live, 'live');
    await hasStatus(subscription, 'live');
    await site.database.query('insert into item values (1)');
    await hasRows(live, [{ id: 1, name: null }]);
    expect(thrown).toContainEqual(new Error('of a listener'));
    expect(thrown).toContainEqual(new Error('of a handler'));
  });

  it('is idle until something is wanted, and afterwards', async () => {
    const client = site.client();
    const statuses: string[] = [];
    client.onStatus((status) => statuses.push(status));
    expect(client.status).toBe('idle');
    const live = client.live('item');
    await hasStatus(live, 'live');
    live.close();
    await hasStatus(client, 'idle');
    const again = client.live('item');
    await hasStatus(again, 'live');
    client.close();
    expect(statuses).toEqual(['connecting', 'open', 'idle', 'connecting', 'open', 'closed']);
    expect(again.status).toBe('denied');
    expect(client.live('item').status).toBe('connecting');
    await expect(client.channel('lobby').publish('late')).rejects.toMatchObject({ code: 'closed' });
  });

  it('names what is wrong with its options', () => {
    expect(() => createClient({ url: 'nonsense' })).toThrow(
      /"url" must be an address such as .* it is nonsense/,
    );
    expect(() => createClient({ url: 'ftp://host/' })).toThrow(/it is ftp:/);
    expect(() => site.client().live('item', { limit: 0 })).toThrow('"limit" is 0; it must be 1 or more');
    if (globalThis.WebSocket === undefined)
      expect(() => createClient({ url: 'ws://host' })).toThrow(/hand in one as \{ WebSocket \}/);
  });
});
