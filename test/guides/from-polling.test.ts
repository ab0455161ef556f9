/** docs/from-polling.md: both programs at the same writes, and the table of what each page shows then. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '../../src/dev/port.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { type Instance, startInstance } from '../harness/instance.ts';
import type { Program } from '../harness/program.ts';
import { type Proxy as Network, startProxy } from '../harness/proxy.ts';
import { type Guide, readGuide } from './blocks.ts';
import { openWorkshop, shows, type Workshop } from './workshop.ts';

let guide: Guide;
let database: Database;
let instance: Instance;
let workshop: Workshop;
beforeAll(async () => {
  guide = await readGuide('from-polling');
  database = await createDatabase();
  await database.query(
    `create table messages (id bigint generated always as identity primary key, content text);
     select rowcast.watch('messages', access => 'public')`,
  );
  instance = await startInstance(database.url, { ROWCAST_ORIGINS: 'http://localhost:5173' });
  workshop = await openWorkshop();
});
afterAll(async () => {
  await workshop.close();
  await instance.stop();
  await database.drop();
});

/** Waits until the program that polls has asked again. */
async function polledAgain(): Promise<void> {
  const { rows } = await database.query<{ now: string }>('select clock_timestamp()::text as now');
  await until(
    async () => {
      const { rowCount } = await database.query(
        `select from pg_stat_activity
         where query like 'select * from messages where%' and state = 'idle' and query_start > $1`,
        [rows[0]?.now],
      );
      return rowCount === 1;
    },
    { what: 'another poll' },
  );
}

/** What the page shows now. */
const shown = ({ stdout }: Program) => /.*\n$/.exec(stdout)?.[0].replace(/^shows: |\n$/g, '');

describe('the programs', () => {
  let networks: Network[];
  let polled: Program;
  let pushed: Program;
  beforeAll(async () => {
    const port = await freePort();
    await workshop.write('polling.js', guide.take('polling.js').replace('port: 3000', `port: ${port}`));
    workshop.node('polling.js', { DATABASE_URL: database.url });
    await polledAgain();
    networks = [await startProxy(port), await startProxy(Number(new URL(instance.http).port))];
    const [toPolling, toRowcast] = networks.map((network) => `127.0.0.1:${network.port}`);
    const open = async (name: string, host: string, address = '') => {
      await workshop.write(name, guide.take(name).replace(host, address));
      return workshop.open(await workshop.bundle(name));
    };
    polled = await open('polled.js', 'localhost:3000', toPolling);
    pushed = await open('pushed.js', 'localhost:8080', toRowcast);
    await instance.observed.next('subscription.added');
    await until(() => polled.stderr.includes('connected'), { what: 'the page is connected' });
  });
  afterAll(async () => {
    for (const network of networks) await network.close();
  });

  const insert = (content: string) => database.query('insert into messages (content) values ($1)', [content]);

  /** What the page says is written, and how it is done here. */
  const WRITES: readonly (() => Promise<unknown>)[] = [
    () =>
      insert('a')
        .then(() => insert('b'))
        .then(() => insert('c')),
    () => database.query(`update messages set content = 'B' where content = 'b'`),
    () => database.query(`delete from messages where content = 'a'`),
    async () => {
      const late = await database.client();
      await late.query(`begin; insert into messages (content) values ('d')`);
      await insert('e');
      await shows(polled, '.*, e');
      await late.query('commit');
      await late.end();
    },
    async () => {
      for (const network of networks) {
        await network.refuse();
        network.cut();
      }
      await insert('f');
      for (const network of networks) await network.accept();
    },
  ];

  it('show what the guide says', async () => {
    const table = Array.from(guide.text.matchAll(/^\| (.+) \| (.+) \| (.+) \|$/gm), ([, ...cells]) => cells);
    const [heading, ...rows] = table;
    expect(heading).toEqual(['written', 'polling', 'rowcast']);
    expect(rows).toHaveLength(WRITES.length);
    for (const [place, [, byPolling = '', byRowcast = '']] of rows.entries()) {
      await WRITES[place]?.();
      await shows(pushed, byRowcast);
      await polledAgain();
      await until(() => shown(polled) === byPolling, { what: `${byPolling}, by polling` });
    }
  });
});

describe('the program that goes on without a page', () => {
  it('misses nothing while it is gone', async () => {
    const host = new URL(instance.http).host;
    await workshop.write('follower.js', guide.take('follower.js').replace('localhost:8080', host));
    const before = instance.observed.since();
    const first = workshop.node('follower.js');
    await before.next('subscription.added');
    await database.query(`insert into messages (content) values ('g')`);
    await first.said(/^mail: g$/m);
    await until(() => readFile(join(workshop.folder, 'cursor'), 'utf8'), { what: 'a cursor' });
    first.kill('SIGKILL');
    await first.ended;
    await database.query(`insert into messages (content) values ('h')`);
    const second = workshop.node('follower.js');
    await second.said(/^mail: h$/m);
    expect(second.stdout).toBe('mail: h\n');
  });
});

describe('of the guide', () => {
  it('no block is untried', () => {
    expect(guide.untried()).toEqual([]);
  });
});
