/** The client in a real browser: tokens that run out, and a large collection under way. */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { startBrowser } from '../harness/browser.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { type Program, startProgram } from '../harness/program.ts';
import { SECRET, tokenOf } from '../harness/tokens.ts';

const ROWS = 10_000;
const CHANGES = 500;
const LONGEST_FRAME_MS = 50;
let database: Database;
let browser: Browser;
let program: Program;
let page: Page;

beforeAll(async () => {
  database = await createDatabase();
  browser = await startBrowser();
  await database.query(`
    create table members (id int primary key, n int not null);
    create table big (id int primary key, n int not null);
    insert into big select i, 0 from generate_series(1, ${ROWS}) i;
    select rowcast.watch('members'), rowcast.watch('big', access => 'public')`);
  const env = { DATABASE_URL: database.url, HOST: '127.0.0.1', PORT: '0', ROWCAST_JWT_SECRET: SECRET };
  program = startProgram(['dev'], { env });
  const [, address = ''] = await program.said(/The page: +(http:\S+)\//);
  page = await browser.newPage();
  await page.goto(address);
});
afterAll(async () => {
  await browser.close();
  program.kill('SIGTERM');
  await program.ended;
  await database.drop();
});

/** What the page's own scripts import. */
declare global {
  interface Window {
    freshToken(): Promise<string>;
    seen: { rows: { id: number; n: number }[]; statuses: string[]; longestMs: number; transactions: number };
  }
}

/** Has the page keep a collection, its newest rows on the screen, and say what it sees of it. */
function keep(topic: string): Promise<void> {
  return page.evaluate(async (topic) => {
    const path = '/client.js';
    const { createClient } = (await import(path)) as typeof import('../../src/client.ts');
    const token = 'freshToken' in window ? () => window.freshToken() : undefined;
    const live = createClient({ url: `${location.origin}/ws`, token }).live<{ id: number; n: number }>(
      topic,
      {
        order: 'n.desc',
      },
    );
    const list = document.body.appendChild(document.createElement('ol'));
    const seen: Window['seen'] = { rows: [], statuses: [], longestMs: 0, transactions: 0 };
    window.seen = seen;
    live.subscribe(() => {
      seen.rows = [...live.rows];
      seen.transactions++;
      if (seen.statuses.at(-1) !== live.status) seen.statuses.push(live.status);
      list.replaceChildren(
        ...live.rows.slice(0, 50).map(({ id, n }) => {
          const item = document.createElement('li');
          item.textContent = `${id}: ${n}`;
          return item;
        }),
      );
    });
  }, topic);
}

async function isRight(table: string): Promise<void> {
  await until(
    async () => {
      const { rows } = await database.query(`select id, n from ${table} order by n desc, id`);
      const shown = await page.evaluate(() => window.seen.rows.map(({ id, n }) => ({ id, n })));
      return JSON.stringify(shown) === JSON.stringify(rows);
    },
    { what: `the collection equals ${table}`, timeoutMs: 30_000 },
  );
}

describe('a collection of ten thousand rows', () => {
  it('takes a hundred changes a second, with no frame of the page longer than 50 ms', async () => {
    await keep('big');
    await isRight('big');
    const longest: number[] = [];
    // What else the machine does may take a frame: then it is looked at again.
    for (let attempt = 0; attempt < 3; attempt++) {
      await page.evaluate(() => {
        window.seen.longestMs = 0;
        new PerformanceObserver((list) => {
          for (const { duration } of list.getEntries())
            window.seen.longestMs = Math.max(window.seen.longestMs, duration);
        }).observe({ type: 'longtask' });
      });
      for (let n = 0; n < CHANGES; n++) {
        const paced = delay(10);
        await database.query('update big set n = n + 1 where id = $1', [
          1 + Math.floor(Math.random() * ROWS),
        ]);
        await paced;
      }
      await isRight('big');
      longest.push(await page.evaluate(() => window.seen.longestMs));
      if (Math.min(...longest) <= LONGEST_FRAME_MS) break;
    }
    console.log(
      `${ROWS} rows, 100 changes a second: longest task past 50 ms: ${longest.join(', ')} ms (0: none)`,
    );
    expect(Math.min(...longest)).toBeLessThanOrEqual(LONGEST_FRAME_MS);
  });
});

describe('a token that runs out', () => {
  it('is renewed before it does, and no row is missed or doubled meanwhile', async () => {
    let tokens = 0;
    await page.exposeFunction('freshToken', () => {
      tokens++;
      return tokenOf({ sub: 'anna', exp: Math.floor(Date.now() / 1_000) + 3 });
    });
    await keep('members');
    let id = 0;
    while (tokens < 4) {
      await database.query('insert into members values ($1, 0)', [++id]);
      await database.query('update members set n = n + 1 where id = $1', [id]);
      await isRight('members');
    }
    expect(await page.evaluate(() => window.seen.statuses)).not.toContain('denied');
  });
});
