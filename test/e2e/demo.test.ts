/** The demo in a real browser: what two people see, whatever breaks meanwhile. */

import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { freePort } from '../../src/dev/port.ts';
import { startBrowser } from '../harness/browser.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { type Program, startProgram } from '../harness/program.ts';
import { board, observeBoard, observedFaults } from './board.ts';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
/** Of the README where it is `docs`. */
const PICTURES = process.env['PICTURES'] ?? 'reports';
const VIEWS = ['orders', 'stock', 'chat', 'messages'];
/** What the script of axe adds to a page. */
declare global {
  interface Window {
    axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
  }
}

let database: Database;
let browser: Browser;
let program: Program;
let address: string;
let port: string;
const contexts: BrowserContext[] = [];

async function serve(): Promise<void> {
  const env = {
    DATABASE_URL: database.url,
    HOST: '127.0.0.1',
    PORT: port,
    ROWCAST_HEARTBEAT_MS: '1000',
    ROWCAST_DRAIN_MS: '0',
  };
  program = startProgram(['dev'], { env });
  [, address = ''] = await program.said(/The page: +(http:\S+)\//);
}

beforeAll(async () => {
  database = await createDatabase();
  port = String(await freePort());
  browser = await startBrowser();
  await serve();
});
afterEach(async () => {
  for (const context of contexts.splice(0)) await context.close();
});
afterAll(async () => {
  await browser.close();
  program.kill('SIGTERM');
  await program.ended;
  await database.drop();
});

/** A page of its own, as of another person. */
async function open(view = 'orders'): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  contexts.push(context);
  const page = await context.newPage();
  page.on('pageerror', (error) => {
    throw error;
  });
  await page.goto(`${address}/#${view}`);
  await isLive(page);
  return page;
}

async function isLive(page: Page): Promise<void> {
  await page.waitForFunction(() => document.getElementById('status')?.textContent === 'live', null, {
    timeout: 20_000,
  });
}

/** Things that happen in the shop. */
async function stir(times: number): Promise<void> {
  for (let n = 0; n < times; n++) await database.query('select demo.stir()');
}

/** Waits until the page shows what the table holds. */
async function isRight(page: Page): Promise<void> {
  await until(
    async () => {
      const { rows } = await database.query<{ id: string; state: string }>(
        'select id::text as id, state::text as state from demo.orders order by demo.orders.id',
      );
      return JSON.stringify(await board(page)) === JSON.stringify(rows.map(({ id, state }) => [id, state]));
    },
    { what: 'the board equals the table', timeoutMs: 30_000 },
  );
}

describe('the board', () => {
  it('shows in one tab what is done in another', async () => {
    const [one, other] = [await open(), await open()];
    await one.fill('#place input[name="customer"]', 'Zoe');
    await one.click('#place button');
    const card = other.locator('.card', { hasText: 'Zoe' });
    await card.waitFor();
    await card.getByRole('button', { name: 'to paid' }).click();
    await one.locator('section', { hasText: 'paid' }).locator('.card', { hasText: 'Zoe' }).waitFor();
    await isRight(one);
    await isRight(other);
    await other.click('#tab-stock');
    const stock = await database.query<{ stock: string }>(
      'select stock::text as stock from demo.products order by name limit 1',
    );
    expect(await other.locator('#products-rows tr').first().locator('td').nth(1).textContent()).toBe(
      stock.rows[0]?.stock,
    );
  });

  it.each<[string, (page: Page) => Promise<void>]>([
    [
      'the service is killed and started again',
      async () => {
        program.kill('SIGKILL');
        await program.ended;
        await stir(20);
        await serve();
      },
    ],
    [
      'the service is drained and started again',
      async () => {
        program.kill('SIGTERM');
        await program.ended;
        await stir(20);
        await serve();
      },
    ],
    [
      'the network is cut and comes back',
      async (page) => {
        await page.context().setOffline(true);
        await page.click('#break');
        await page.waitForFunction(() => document.getElementById('status')?.textContent !== 'live');
        await stir(20);
        await page.context().setOffline(false);
      },
    ],
    [
      'the connection is cut',
      async (page) => {
        await page.click('#break');
        await stir(20);
      },
    ],
    [
      'the listener is ended',
      async (page) => {
        await page.click('#listener');
        await stir(20);
      },
    ],
    [
      'the tab is frozen for a minute, past many heartbeats',
      async (page) => {
        const session = await page.context().newCDPSession(page);
        await session.send('Page.setWebLifecycleState', { state: 'frozen' });
        const begunMs = Date.now();
        while (Date.now() - begunMs < 60_000) {
          const paced = delay(100);
          await stir(1);
          await paced;
        }
        await session.send('Page.setWebLifecycleState', { state: 'active' });
      },
    ],
  ])('is right, and no row blinked or doubled, after %s', async (_, breakIt) => {
    const page = await open();
    await stir(15);
    await isRight(page);
    await page.evaluate(observeBoard);
    await stir(5);
    await breakIt(page);
    await isLive(page);
    await stir(5);
    await isRight(page);
    expect(await page.evaluate(observedFaults)).toEqual([]);
  });
});

describe('the chat', () => {
  it('knows who is there, and carries messages to everyone and to one', async () => {
    const enter = async (name: string) => {
      const page = await open('chat');
      await page.fill('#enter input', name);
      await page.click('#enter button');
      await page.locator('#present li', { hasText: `${name} (you)` }).waitFor();
      return page;
    };
    const [anna, bob, eve] = [await enter('Anna'), await enter('Bob'), await enter('Eve')];
    await anna.locator('#present li', { hasText: 'Eve' }).waitFor();
    const say = async (page: Page, text: string, to = '') => {
      await page.selectOption('#to', to);
      await page.fill('#say input', text);
      await page.click('#say button');
    };
    await say(anna, 'hello all');
    await bob.locator('#said', { hasText: 'Anna: hello all' }).waitFor();
    await say(bob, 'for you alone', 'Anna');
    await anna.locator('#said', { hasText: 'Bob to Anna, privately: for you alone' }).waitFor();
    await say(eve, 'last');
    await anna.locator('#said', { hasText: 'Eve: last' }).waitFor();
    expect(await eve.locator('#said').textContent()).not.toContain('alone');
    await bob.context().close();
    contexts.splice(contexts.indexOf(bob.context()), 1);
    await anna.locator('#present li', { hasText: 'Bob' }).waitFor({ state: 'detached' });
  });
});

describe('the messages', () => {
  it('show a row that somebody inserts by SQL', async () => {
    const page = await open('messages');
    await database.query(`insert into messages (content) values ('by hand')`);
    await page.locator('#rows .card', { hasText: 'by hand' }).waitFor();
    await page.fill('#insert input[name="content"]', 'by the form');
    await page.click('#insert button');
    await page.locator('#rows .card', { hasText: 'by the form' }).waitFor();
  });
});

describe('the page', () => {
  it('says how long a commit takes to the screen', async () => {
    const page = await open();
    for (let n = 0; n < 100; n++) {
      await stir(1);
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    }
    const median = await page.textContent('#median');
    console.log(`commit to painted DOM on loopback, median: ${median}`);
    expect(median).toMatch(/^\d+ ms$/);
  });

  it.each(['light', 'dark'] as const)('has nothing that axe finds, when it is %s', async (colorScheme) => {
    await stir(20);
    for (const view of VIEWS) {
      const page = await open(view);
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      if (view === 'chat') {
        await page.fill('#enter input', 'Anna');
        await page.click('#enter button');
        await page.locator('#present li').waitFor();
      }
      await page.addScriptTag({ path: AXE });
      const violations = await page.evaluate(async () => {
        const { violations } = await window.axe.run();
        return violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]);
      });
      expect([view, violations]).toEqual([view, []]);
    }
  });

  it('is used by the keyboard alone, and fits a phone', async () => {
    const page = await open();
    await page.setViewportSize({ width: 375, height: 720 });
    await page.focus('#tab-orders');
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('#stock').isVisible()).toBe(true);
    await page.keyboard.press('End');
    expect(await page.locator('#messages').isVisible()).toBe(true);
    await page.keyboard.press('Home');
    await page.focus('#place input[name="customer"]');
    await page.keyboard.press('Control+A');
    await page.keyboard.type('Keys');
    await page.keyboard.press('Enter');
    await page.locator('.card', { hasText: 'Keys' }).first().waitFor();
    for (const view of VIEWS) {
      await page.click(`#tab-${view}`);
      expect(
        await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
      ).toBeLessThanOrEqual(0);
    }
  });

  it('has its pictures taken for the README', async () => {
    await database.query('delete from demo.orders; update demo.products set stock = stock + 40');
    for (let n = 0; n < 14; n++) {
      await database.query('select demo.place_order($1, $2, $3)', [
        ['Anna', 'Bela', 'Chidi', 'Dilek', 'Emre'][n % 5],
        1 + (n % 6),
        1 + (n % 3),
      ]);
    }
    for (let n = 0; n < 14; n++)
      for (let step = 0; step < n % 5; step++)
        await database.query('select demo.advance_order(id) from demo.orders order by id offset $1 limit 1', [
          n,
        ]);
    const page = await open();
    await isRight(page);
    await stir(3);
    await isRight(page);
    await page.screenshot({ path: `${PICTURES}/demo-board.png` });
  });
});
