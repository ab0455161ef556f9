/** docs/errors.md: it has every code, and what it says that a page sees is what the client says. */
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocket } from 'ws';
import { CLOSE_CODES, ERROR_CODES } from '../src/protocol/codes.ts';
import { hasStatus, type Site, startSite } from './client/site.ts';
import { until } from './harness/facts.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

const SERVICE_TOKEN = 'a token of the services';

let site: Site;
let page: string;
beforeAll(async () => {
  page = await readFile('docs/errors.md', 'utf8');
  site = await startSite('create table item (id int primary key)', ['item'], {
    ROWCAST_JWT_SECRET: SECRET,
    ROWCAST_SERVICE_TOKEN: SERVICE_TOKEN,
    ROWCAST_MAX_SUBSCRIPTIONS: '1',
  });
});
afterAll(() => site.close());
afterEach(() => {
  site.reported.length = 0;
});

describe('the page on errors', () => {
  it('has every code that there is', () => {
    const own = ['cursor_expired', 'stream_changed', 'disconnected', 'ended', 'closed'];
    const codes = [...Object.keys(ERROR_CODES), ...own, ...Object.values(CLOSE_CODES).map(String), '1006'];
    expect(codes.filter((code) => !new RegExp(`\\b${code}\\b`).test(page))).toEqual([]);
  });

  it('says what is denied, and why', async () => {
    const client = site.client();
    const missing = client.live('nothing');
    await hasStatus(missing, 'denied');
    expect(missing.error?.code).toBe('bad_topic');
    const unread = client.live('item', { order: 'nothing', limit: 5 });
    await hasStatus(unread, 'denied');
    expect(unread.error?.code).toBe('bad_frame');
    unread.close();
    await expect(client.channel('lobby').publish('said', 1)).rejects.toMatchObject({ code: 'forbidden' });
    const [one, two] = [client.live('item'), client.live('item?id=eq.1')];
    await hasStatus(one, 'live');
    await hasStatus(two, 'denied');
    expect(two.error?.code).toBe('limit_exceeded');
    client.close();
    await expect(client.channel('lobby').publish('said', 1)).rejects.toMatchObject({ code: 'closed' });
  });

  it('says that a fixed token that is refused ends the client, and a function is called again', async () => {
    const fixed = site.client({ token: 'no token' });
    const live = fixed.live('item');
    await hasStatus(live, 'denied');
    expect([fixed.status, live.error?.code]).toEqual(['ended', 'unauthorized']);

    let calls = 0;
    const fetched = site.client({ token: () => `no token ${++calls}` });
    const waiting = fetched.live('item');
    await until(() => calls > 1, { what: 'another call' });
    await hasStatus(waiting, 'offline');
    expect(fetched.status).toBe('offline');
  });

  it('says that a page of another origin sees nothing but offline', async () => {
    class Elsewhere extends WebSocket {
      constructor(url: string, protocols: string) {
        super(url, protocols, { origin: 'http://localhost:5173' });
      }
    }
    const client = site.client({ WebSocket: Elsewhere });
    const live = client.live('item');
    await hasStatus(live, 'offline');
    expect(live.error).toBeUndefined();
    expect(site.reported).toEqual([]);
  });

  it('says that a token function that throws is told of, and called again', async () => {
    let calls = 0;
    const client = site.client({
      token: () => {
        if (++calls === 1) throw new Error('no network');
        return tokenOf({ sub: 'anna' });
      },
    });
    await hasStatus(client.live('item'), 'live');
    expect(site.reported).toEqual([new Error('no network')]);
  });

  it('says that an operator who ends a session ends its client', async () => {
    const client = site.client({ token: () => tokenOf({ sub: 'bob' }) });
    const live = client.live('item');
    await hasStatus(live, 'live');
    await fetch(`${site.instance.http}/sessions?user=bob`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${SERVICE_TOKEN}` },
    });
    await hasStatus(live, 'denied');
    expect(client.status).toBe('ended');
  });
});
