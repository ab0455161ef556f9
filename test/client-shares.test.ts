/** What several parts of a page share, what windows show, and what the package offers. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocket } from 'ws';
import { exact } from '../src/client/exact.ts';
import type { Change, Row } from '../src/client.ts';
import { hasRows, hasStatus, type Site, startSite } from './client/site.ts';
import { until } from './harness/facts.ts';

const SERVICE = 'a service token of the tests';

let site: Site;
beforeAll(async () => {
  site = await startSite(
    `create table item (id int primary key, name text);
     create table account (id bigint primary key, balance numeric);
     create table messages (id int primary key generated always as identity, content text)`,
    ['item', 'account', 'messages'],
    { ROWCAST_SERVICE_TOKEN: SERVICE },
  );
});
afterAll(() => site.close());
afterEach(async () => {
  await site.empty('item', 'account', 'messages');
  expect(site.reported).toEqual([]);
});

const rowsOf = (ids: readonly number[]): Row[] => ids.map((id) => ({ id, name: 'x' }));
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);
const keyOf = (change: Change) => ('key' in change ? change.key['id'] : change.op);
const insert = (from: number, to = from) =>
  site.database.query(`insert into item select i, 'x' from generate_series(${from}, ${to}) i`);

/** How many subscriptions each connection has at the service. */
async function held(): Promise<number[]> {
  const answer = await fetch(`${site.instance.http}/sessions`, {
    headers: { authorization: `Bearer ${SERVICE}` },
  });
  const { sessions }: { sessions: { subscriptions: number }[] } = JSON.parse(await answer.text());
  return sessions.map(({ subscriptions }) => subscriptions);
}

/** A WebSocket that keeps what the client says on it. */
function recording(): { WebSocket: typeof WebSocket; said: string[] } {
  const said: string[] = [];
  class Recording extends WebSocket {
    override send(data: string): void {
      said.push(JSON.parse(data).type);
      super.send(data);
    }
  }
  return { WebSocket: Recording, said };
}

describe('a topic', () => {
  it('is subscribed to once, whoever follows it and however it is spelled', async () => {
    await insert(1);
    const client = site.client();
    const live = client.live('item');
    await hasStatus(live, 'live');
    const others = [
      client.live('public.item', { order: 'id.desc' }),
      client.live('item', { limit: 5 }),
      client.subscribe('item', {}),
      client.live('item?name=eq.x'),
      client.live('item?name=in.(x)'),
      client.live('item?name=in.("x")'),
    ];
    for (const one of others) await hasStatus(one, 'live');
    await insert(2);
    await hasRows(live, rowsOf([1, 2]));
    for (const one of others) {
      if ('rows' in one) await until(() => one.rows.length === 2, { what: 'both rows' });
    }
    const counts = (await held()).filter((count) => count > 0);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(4);
    client.close();
    await until(async () => (await held()).length === 0, { what: 'nobody is connected' });
  });

  it('costs nothing more for a second collection of all rows', async () => {
    const { WebSocket: Recording, said } = recording();
    const client = site.client({ WebSocket: Recording });
    await insert(1);
    const live = client.live('item');
    await hasRows(live, rowsOf([1]));
    await hasStatus(live, 'live');
    const second = client.live('item', { order: 'id.desc', limit: 3 });
    await hasStatus(second, 'live');
    expect(second.rows).toEqual(rowsOf([1]));
    expect(second.rows[0]).toBe(live.rows[0]);
    expect(said).toEqual(['subscribe']);
  });

  it('is subscribed to once by who comes, goes and comes within a turn', async () => {
    const { WebSocket: Recording, said } = recording();
    const client = site.client({ WebSocket: Recording });
    client.live('item').close();
    const live = client.live('item');
    await hasStatus(live, 'live');
    live.close();
    const again = client.live('item');
    await hasStatus(again, 'live');
    await insert(1);
    await hasRows(again, rowsOf([1]));
    expect(said).toEqual(['subscribe', 'unsubscribe', 'subscribe'].slice(0, said.length));
  });

  it('gives the rows and then the changes to one who comes while others follow it', async () => {
    await insert(1, 30);
    const client = site.client();
    const window = client.live('item', { limit: 3, order: 'id.desc' });
    await hasStatus(window, 'live');
    const seen: unknown[] = [];
    const subscription = client.subscribe('item', {
      snapshot: true,
      onSnapshot: (rows) => seen.push(rows.length),
      onChange: (changes) => seen.push(changes.length),
    });
    await hasStatus(subscription, 'live');
    await insert(31);
    await hasRows(window, rowsOf([31, 30, 29]));
    await until(() => seen.length === 2, { what: 'rows and a change' });
    expect(seen).toEqual([30, 1]);
  });

  it('goes not back in time for one whose rows are newer than what the others lack', async () => {
    await insert(1, 30);
    const client = site.client();
    const window = client.live('item', { limit: 3 });
    await hasStatus(window, 'live');
    await site.network.refuse();
    site.network.cut();
    await hasStatus(window, 'offline');
    for (const name of ['a', 'b', 'c'])
      await site.database.query('update item set name = $1 where id = 1', [name]);
    const all = client.live('item', { order: 'id.desc' });
    const names = new Set<unknown>();
    all.subscribe(() => names.add(all.rows.at(-1)?.['name']));
    const seen: unknown[] = [];
    const subscription = client.subscribe('item', {
      snapshot: { order: 'id', limit: 2 },
      onSnapshot: (rows) => seen.push(rows),
      onChange: (changes) => seen.push(changes),
    });
    await site.network.accept();
    for (const one of [window, all, subscription]) await hasStatus(one, 'live');
    expect(window.rows[0]).toEqual({ id: 1, name: 'c' });
    expect([...names].filter((name) => name !== undefined)).toEqual(['c']);
    expect(seen).toEqual([[{ id: 1, name: 'c' }, ...rowsOf([2])]]);
  });

  it('is replayed from two cursors to two who began at different ones', async () => {
    const client = site.client();
    const first = client.subscribe('item', {});
    await hasStatus(first, 'live');
    const early = first.cursor ?? '';
    await insert(1);
    await until(() => first.cursor !== early, { what: 'a change' });
    const late = first.cursor ?? '';
    await insert(2);
    first.close();
    const [a, b]: [unknown[], unknown[]] = [[], []];
    const other = site.client();
    for (const [since, taken] of [
      [early, a],
      [late, b],
    ] as const) {
      const onChange = (changes: readonly Change[]) => taken.push(...changes.map(keyOf));
      await hasStatus(other.subscribe('item', { since, onChange }), 'live');
    }
    expect([a, b]).toEqual([[1, 2], [2]]);
  });
});

describe('a limited collection', () => {
  it('is refilled where rows leave, and shows no window that is short', async () => {
    await insert(1, 200);
    const live = site.client().live('item', { limit: 5 });
    await hasRows(live, rowsOf(range(1, 5)));
    const sizes = new Set<number>();
    live.subscribe(() => sizes.add(live.rows.length));
    await site.database.query('delete from item where id = 2');
    await hasRows(live, rowsOf([1, 3, 4, 5, 6]));
    await site.database.query('delete from item where id < 100');
    await hasRows(live, rowsOf(range(100, 104)));
    await site.database.query('delete from item where id < 199');
    await hasRows(live, rowsOf([199, 200]));
    expect([...sizes].sort()).toEqual([2, 5]);
  });
});

describe('exact numbers', () => {
  it('keep their digits, tell rows apart and put them in order', async () => {
    const client = site.client({ numbers: exact });
    const live = client.live('account', { order: 'balance.desc' });
    await hasStatus(live, 'live');
    await site.database.query(`insert into account values (9007199254740993, 9.5), (9007199254740992, 10.25),
      (1, 12345678901234567890.000000001), (2, 12345678901234567890.000000002), (3, 'NaN')`);
    await until(() => live.rows.length === 5, { what: 'all rows' });
    expect(live.rows).toEqual([
      { id: 3, balance: 'NaN' },
      { id: 2, balance: '12345678901234567890.000000002' },
      { id: 1, balance: '12345678901234567890.000000001' },
      { id: 9007199254740992n, balance: '10.25' },
      { id: 9007199254740993n, balance: '9.5' },
    ]);
    await site.database.query('delete from account where id = 9007199254740992');
    await until(() => live.rows.length === 4, { what: 'one less' });
    expect(live.rows[3]?.['id']).toBe(9007199254740993n);
  });
});

describe('the package', () => {
  it('runs the first snippet of docs/client.md', async () => {
    const docs = await readFile('docs/client.md', 'utf8');
    const readme = await readFile('README.md', 'utf8');
    const [, snippet = ''] = /```js\n([\s\S]*?)```/.exec(docs) ?? [];
    expect(readme).toContain(snippet);
    expect(snippet.trim().split('\n').length).toBeLessThanOrEqual(5);
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-client-'));
    try {
      await symlink(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'));
      await writeFile(join(folder, 'package.json'), '{"type":"module"}');
      const program = snippet
        .replace("'rowcast/client'", `'${join(process.cwd(), 'dist/client.min.js')}'`)
        .replace("'ws://localhost:8080/ws'", `'${site.url}'`);
      await writeFile(
        join(folder, 'page.js'),
        `import { WebSocket } from 'ws'; globalThis.WebSocket ??= WebSocket;
        const draw = (rows) => { if (rows.length > 0) { console.log(JSON.stringify(rows)); process.exit(0); } };
        ${program}`,
      );
      await site.database.query(`insert into messages (content) values ('hello')`);
      const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'page.js')]);
      expect(JSON.parse(stdout)).toEqual([{ id: expect.any(Number), content: 'hello' }]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('offers the client with its types, and what it imports is there', async () => {
    const { exports, files } = JSON.parse(await readFile('package.json', 'utf8'));
    expect(files).toContain('dist');
    for (const path of Object.values<string>(exports['./client']))
      expect(await readFile(path, 'utf8')).toMatch(/createClient/);
    const { createClient } = await import(join(process.cwd(), exports['./client'].import));
    expect(typeof createClient).toBe('function');
    expect(await readFile(exports['./client/exact'].types, 'utf8')).toMatch(/exact/);
    // One file, as pages without a bundler load it.
    expect(await readFile(exports['./client/exact'].import, 'utf8')).not.toMatch(/^import/m);
    const { exact: built } = await import(join(process.cwd(), exports['./client/exact'].import));
    expect(built().parse('[12.50]')).toEqual(['12.50']);
  });
});
