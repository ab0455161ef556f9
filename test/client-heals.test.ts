/** The client heals itself: whatever breaks, it is right again, by itself, and says so meanwhile. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Change, Row, Storage } from '../src/client.ts';
import { hasRows, hasStatus, type Site, startSite } from './client/site.ts';
import { until } from './harness/facts.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

let site: Site;
beforeAll(async () => {
  site = await startSite(
    'create table item (id int primary key, name text); create table secret (id int primary key)',
    ['item'],
    {
      ROWCAST_JWT_SECRET: SECRET,
      ROWCAST_SERVICE_TOKEN: 'a service token of the tests',
      ROWCAST_CHANNELS: '*:join+publish',
    },
  );
  await site.database.query(`select rowcast.watch('secret')`);
});
afterAll(() => site.close());
afterEach(async () => {
  await site.network.accept();
  site.network.resume();
  await site.empty('item', 'secret');
});

const insert = (id: number, name = 'x') =>
  site.database.query('insert into item values ($1, $2)', [id, name]);
const named = (...ids: number[]): Row[] => ids.map((id) => ({ id, name: 'x' }));

describe('a client', () => {
  it('resumes each subscription after a cut, with what it missed', async () => {
    const client = site.client();
    const live = client.live('item');
    const taken: unknown[] = [];
    const subscription = client.subscribe('item:insert', {
      onChange: (changes) => taken.push(...changes.map((one) => ('key' in one ? one.key['id'] : one.op))),
    });
    await hasStatus(live, 'live');
    await hasStatus(subscription, 'live');
    await insert(1);
    await hasRows(live, named(1));
    await site.network.refuse();
    site.network.cut();
    await hasStatus(live, 'offline');
    expect([client.status, live.rows]).toEqual(['offline', named(1)]);
    await insert(2);
    await insert(3);
    await site.network.accept();
    await hasStatus(live, 'live');
    await hasRows(live, named(1, 2, 3));
    await until(() => taken.length === 3, { what: 'three inserts' });
    expect(taken).toEqual([1, 2, 3]);
  });

  it('goes to another instance when its own is stopped', async () => {
    const client = site.client();
    const live = client.live('item');
    await hasStatus(live, 'live');
    await insert(1);
    await hasRows(live, named(1));
    await site.replace();
    await insert(2);
    await hasRows(live, named(1, 2));
    await hasStatus(live, 'live');
  });

  it('notices a server that went silent', async () => {
    const client = site.client();
    const live = client.live('item');
    await hasStatus(live, 'live');
    site.network.silence();
    await hasStatus(live, 'offline');
    await insert(1);
    site.network.resume();
    site.network.cut();
    await hasStatus(live, 'live');
    await hasRows(live, named(1));
  });

  it('stays with a quiet server that is there', async () => {
    const client = site.client();
    const seen: string[] = [];
    const subscription = client.subscribe('item', { onStatus: (status) => seen.push(status) });
    await hasStatus(subscription, 'live');
    const { cursor } = subscription;
    await site.database.query('create table elsewhere (id int)');
    // Several heartbeats, and no change.
    const beats = site.client().subscribe('secret', {});
    await hasStatus(beats, 'denied');
    await insert(1);
    await until(() => subscription.cursor !== cursor, { what: 'a cursor' });
    expect(seen).toEqual(['catching up', 'live']);
  });

  it('does not come back where an operator disconnected it', async () => {
    const client = site.client({ token: await tokenOf({ sub: 'gone' }) });
    const live = client.live('item');
    await hasStatus(live, 'live');
    const { port } = new URL(site.instance.http);
    await fetch(`http://127.0.0.1:${port}/sessions?user=gone`, {
      method: 'DELETE',
      headers: { authorization: 'Bearer a service token of the tests' },
    });
    await hasStatus(client, 'ended');
    expect(live.status).toBe('denied');
    expect(live.error?.code).toBe('ended');
    const late = client.live('item');
    await hasStatus(late, 'denied');
  });

  it('does not come back where its fixed token is none', async () => {
    const client = site.client({ token: 'no.token.this' });
    const live = client.live('item');
    await hasStatus(live, 'denied');
    expect([client.status, live.error?.code]).toEqual(['ended', 'unauthorized']);
  });

  it('fetches another token where one is refused, and reports what the function throws', async () => {
    const thrown: unknown[] = [];
    const given = [
      () => Promise.reject(new Error('no network')),
      async () => tokenOf({ sub: '1' }, 'another secret, long enough for HS256'),
      async () => tokenOf({ sub: '1' }),
    ];
    const client = site.client({
      token: () => given.shift()?.() ?? tokenOf({ sub: '1' }),
      onError: (error) => thrown.push(error),
    });
    const live = client.live('secret');
    await hasStatus(live, 'live');
    expect(thrown).toEqual([new Error('no network')]);
    expect(given).toEqual([]);
  });

  it('renews its token in place before it runs out', async () => {
    let fetched = 0;
    const seen: string[] = [];
    const client = site.client({
      token: () => tokenOf({ sub: '1', exp: Math.floor(Date.now() / 1_000) + 3, n: fetched++ }),
    });
    client.onStatus((status) => seen.push(status));
    const live = client.live('secret');
    await hasStatus(live, 'live');
    // One that ran out would be ended five seconds later.
    await until(() => fetched > 4, { timeoutMs: 20_000, what: 'four renewals' });
    await site.database.query('insert into secret values (1)');
    await hasRows(live, [{ id: 1 }]);
    expect(seen).toEqual(['connecting', 'open']);
  });

  it('asks again with a new token for what the old one did not allow', async () => {
    let claims = {};
    const client = site.client({
      token: () => ('sub' in claims ? tokenOf({ sub: '1' }) : undefined),
    });
    const live = client.live('secret');
    await hasStatus(live, 'denied');
    expect(live.error?.code).toBe('bad_topic');
    claims = { sub: '1' };
    site.network.cut();
    await hasStatus(live, 'live');
    expect(live.error).toBeUndefined();
  });

  it('rejects what was not answered when the connection was lost, and sends what was not sent', async () => {
    const client = site.client({ token: await tokenOf({ sub: '1' }) });
    const channel = client.channel('lobby');
    await channel.publish('said', 1);
    site.network.silence();
    const unanswered = channel.publish('said', 2);
    const rejected = expect(unanswered).rejects.toMatchObject({ code: 'disconnected' });
    await hasStatus(client, 'offline');
    await rejected;
    const waiting = channel.publish('said', 3);
    site.network.resume();
    site.network.cut();
    await waiting;
  });

  it('takes a new snapshot where the log does not reach back, and no row blinks', async () => {
    const client = site.client();
    const live = client.live('item');
    const resets: string[] = [];
    const snapshots: number[] = [];
    const subscription = client.subscribe('item:insert', {
      snapshot: true,
      onReset: (reason) => resets.push(reason),
      onSnapshot: (rows) => snapshots.push(rows.length),
    });
    await insert(1);
    await insert(2);
    await hasRows(live, named(1, 2));
    await hasStatus(subscription, 'live');
    const [first] = live.rows;
    const sizes: number[] = [];
    live.subscribe(() => sizes.push(live.rows.length));
    await site.network.refuse();
    site.network.cut();
    await hasStatus(live, 'offline');
    await insert(3);
    await site.database.query('delete from item where id = 2');
    for (let n = 0; n < 3; n++) {
      await site.database.query(`select rowcast.prune('0')`);
      await site.database.query(
        `update item set name = 'y' where id = 3; update item set name = 'x' where id = 3`,
      );
    }
    await site.replace({ ROWCAST_RING_BYTES: '64KiB' });
    await site.network.accept();
    await hasRows(live, named(1, 3));
    await until(() => snapshots.length === 2 || undefined, { what: 'another snapshot' });
    expect(live.rows[0]).toBe(first);
    expect(sizes.every((size) => size === 2)).toBe(true);
    expect(resets).toEqual(['cursor_expired']);
    expect(snapshots.at(-1)).toBe(2);
  });

  it('goes on from its storage after the page was loaded anew', async () => {
    const kept = new Map<string, string>();
    const removed: string[] = [];
    const storage: Storage = {
      get: (key) => kept.get(key),
      set: (key, value) => void kept.set(key, value),
      remove: (key) => void removed.push(key),
    };
    const taken: unknown[] = [];
    const onChange = (changes: readonly Change[]) => {
      for (const change of changes) if (change.op === 'insert') taken.push(change.key['id']);
    };
    const before = site.client({ storage });
    await hasStatus(before.subscribe('item', { onChange }), 'live');
    await insert(1);
    await until(() => taken.length === 1, { what: 'a change' });
    before.close();
    await insert(2);
    const after = site.client({ storage });
    const live = after.live('item');
    await hasStatus(after.subscribe('item', { onChange }), 'live');
    await insert(3);
    await until(() => taken.length === 3, { what: 'three changes' });
    expect(taken).toEqual([1, 2, 3]);
    await hasRows(live, named(1, 2, 3));
    expect([...kept.keys()]).toEqual(['rowcast:public.item']);

    kept.set('rowcast:public.item', 'nonsense');
    const resets: string[] = [];
    const bad = site.client({ storage });
    await hasStatus(bad.subscribe('item', { onReset: (reason) => resets.push(reason) }), 'live');
    expect(resets).toEqual(['cursor_expired']);
    expect(removed).toEqual(['rowcast:public.item']);
    expect(kept.get('rowcast:public.item')).not.toBe('nonsense');
  });
});
