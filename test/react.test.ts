/** `rowcast/react` with React 18 and 19, in a document, against a real service. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { buildSync } from 'esbuild';
import { Window } from 'happy-dom';
import { WebSocket } from 'ws';
import { type Client, createClient } from '../src/client.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import type * as AppModule from './react/app.ts';

const EIGHTEEN = join(process.cwd(), 'test', 'react', '18');
let database: Database;
let instance: Instance;
let folder: string;
let window: Window;
const clients: Client[] = [];

beforeAll(async () => {
  if (!existsSync(join(EIGHTEEN, 'node_modules')))
    execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: EIGHTEEN, stdio: 'ignore' });
  folder = await mkdtemp(join(tmpdir(), 'rowcast-react-'));
  database = await createDatabase();
  await database.query(`
    create table item (id int primary key, name text not null); create table other (id int primary key, name text not null);
    select rowcast.watch('item', access => 'public'), rowcast.watch('other', access => 'public')`);
  instance = await startInstance(database.url, {
    ROWCAST_CHANNELS: 'lobby:join+publish+presence+public',
  });
  window = new Window();
  const { document, navigator, HTMLIFrameElement } = window;
  for (const [name, value] of Object.entries({ window, document, navigator, HTMLIFrameElement }))
    Object.defineProperty(globalThis, name, { value, configurable: true });
});
afterAll(async () => {
  await window.happyDOM.close();
  await instance.stop();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await database.query('truncate item, other');
});

/** The components with one React. */
async function appWith(react: string): Promise<typeof AppModule> {
  const outfile = join(folder, `app-${react}.mjs`);
  const of = (name: string) => (react === '18' ? join(EIGHTEEN, 'node_modules', name) : name);
  buildSync({
    entryPoints: [join(process.cwd(), 'test', 'react', 'app.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    alias: { react: of('react'), 'react-dom': of('react-dom') },
    banner: {
      js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`,
    },
    define: { 'process.env.NODE_ENV': '"development"' },
    logLevel: 'error',
  });
  return (await import(pathToFileURL(outfile).href)) as typeof AppModule;
}

function clientOf(): Client {
  const client = createClient({ url: instance.url, WebSocket });
  clients.push(client);
  return client;
}

function page(): HTMLElement {
  const element = document.createElement('div');
  document.body.append(element);
  return element;
}

const texts = (element: Element, topic: string) =>
  [...element.querySelectorAll(`[data-topic="${topic}"] li`)].map(({ textContent }) => textContent);
const shows = (element: Element, topic: string, rows: string[]) =>
  until(() => JSON.stringify(texts(element, topic)) === JSON.stringify(rows), {
    what: `${topic} shows ${rows}, not ${texts(element, topic)}`,
  });

describe.each(['18', '19'])('with React %s', (version) => {
  let app: typeof AppModule;
  beforeAll(async () => {
    app = await appWith(version);
  });
  afterEach(() => {
    for (const root of app.unmounts.splice(0)) root.unmount();
    app.renders.clear();
    app.heard.length = 0;
  });

  it('shows rows as they change, in StrictMode, on one subscription for two lists', async () => {
    const element = page();
    await database.query(`insert into item values (1, 'a'), (2, 'b')`);
    const held = instance.observed.since();
    app.mount(element, clientOf())({ topics: ['item', 'item'] });
    await shows(element, 'item', ['1 a', '2 b', '1 a', '2 b']);
    const [, second] = element.querySelectorAll('li');
    await database.query(`update item set name = 'c' where id = 1`);
    await shows(element, 'item', ['1 c', '2 b', '1 c', '2 b']);
    expect(element.querySelectorAll('li')[1]).toBe(second);
    expect(held.all.filter(({ type }) => type === 'subscription.added')).toHaveLength(1);
    expect(element.querySelector('ul')?.getAttribute('data-status')).toBe('live');
  });

  it('is not rendered anew by what concerns another topic, and goes to another when it is asked to', async () => {
    const element = page();
    const render = app.mount(element, clientOf());
    await database.query(`insert into item values (1, 'a'); insert into other values (7, 'z')`);
    render({ topics: ['item', 'other'] });
    await shows(element, 'item', ['1 a']);
    await shows(element, 'other', ['7 z']);
    await until(() => element.querySelectorAll('[data-status="live"]').length === 2, {
      what: 'both are live',
    });
    const before = app.renders.get('list item');
    await database.query(`insert into other values (8, 'y')`);
    await shows(element, 'other', ['7 z', '8 y']);
    expect(app.renders.get('list item')).toBe(before);
    const gone = instance.observed.since();
    render({ topics: ['other'] });
    await until(() => texts(element, 'item').length === 0, { what: 'the first list is gone' });
    await gone.next('subscription.removed', ({ topic }) => topic === 'public.item');
    expect(texts(element, 'other')).toEqual(['7 z', '8 y']);
  });

  it('joins a channel, is present there, and hears what is said', async () => {
    const element = page();
    app.mount(element, clientOf())({ topics: [], chat: true });
    const button = await until(
      () => {
        const found = element.querySelector('button');
        return found?.textContent === '1 here' && found;
      },
      { what: 'it is there' },
    );
    button.click();
    // In either order: the message may be there before the answer.
    await until(() => app.heard.length > 1, { what: 'it hears, and was answered' });
    expect([...app.heard].sort()).toEqual(['hello', 'published']);
  });

  it('connects to nothing on a server', () => {
    const client = clientOf();
    expect(app.renderOnServer(client, { topics: ['item'] })).toContain('data-status="connecting"');
    expect(client.status).toBe('idle');
  });
});
