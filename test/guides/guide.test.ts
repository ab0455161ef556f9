/** docs/guide.md: what it says is done, from `npm start` to pages of every kind, and they show what the table holds. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createDatabase, type Database } from '../harness/database.ts';
import { until } from '../harness/facts.ts';
import { type Instance, startInstance } from '../harness/instance.ts';
import { type Guide, readGuide } from './blocks.ts';
import { openWorkshop, shows, type Workshop } from './workshop.ts';

const HERE = { HOST: '127.0.0.1', PORT: '0', ROWCAST_DRAIN_MS: '0' };
const ORIGINS = { ROWCAST_ORIGINS: 'self,http://localhost:5173' };

let guide: Guide;
let database: Database;
let workshop: Workshop;
beforeAll(async () => {
  guide = await readGuide('guide');
});
beforeEach(async () => {
  database = await createDatabase();
  workshop = await openWorkshop();
});
afterEach(async () => {
  await workshop.close();
  await database.drop();
});

/** Waits for what commands say, and gives the part in parentheses. */
function heard(started: { said(): string }, pattern: RegExp): Promise<string> {
  return until(() => pattern.exec(started.said())?.[1], {
    timeoutMs: 30_000,
    what: `${pattern} in ${started.said()}`,
  });
}

describe('the guide', () => {
  it('has a page in five lines, beside what npm start starts', async () => {
    const { scripts } = JSON.parse(await readFile('package.json', 'utf8'));
    expect(scripts.start).toMatch(/ && exec node dist\/cli\.js dev$/);
    const start = guide.take('start').replace('npm start', 'node dist/cli.js dev');
    const dev = workshop.start(start, { DATABASE_URL: database.url, ...HERE });
    const address = await heard(dev, /The page: +http:\/\/(\S+)\//);

    expect(await workshop.shell(guide.take('folder'))).toEqual({ code: 0, said: '' });
    const html = guide.take('page').replace('localhost:8080', address);
    const [element, script = ''] = /<script type="module">([\s\S]*)<\/script>/.exec(html) ?? [''];
    await workshop.write('page/script.js', script);
    const page = workshop.open(join(workshop.folder, 'page/script.js'), { html: html.replace(element, '') });

    await database.query(`insert into messages (content) values ('hello'), ('world')`);
    await shows(page, 'world, hello');
    await database.query(`update messages set content = 'you' where content = 'world'`);
    await shows(page, 'you, hello');
    await database.query(`delete from messages where content = 'hello'`);
    await shows(page, 'you');
  });

  it('shows a customer his own orders, by a token of the backend', async () => {
    await database.query(
      `create table orders (id int primary key, customer_id int not null, status text not null, total int not null);
       insert into orders values (1, 7, 'open', 10), (2, 7, 'open', 30), (3, 8, 'open', 20), (4, 7, 'closed', 5)`,
    );
    const env = { DATABASE_URL: database.url };
    expect(await workshop.shell(guide.take('watch'), env)).toMatchObject({ code: 0 });
    const serve = guide.take('serve').replace('\n', '\necho "the secret is $ROWCAST_JWT_SECRET"\n');
    const served = workshop.start(serve, { ...env, ...HERE });
    const address = await heard(served, /"server.listening","url":"http:\/\/([^"]+)"/);
    const secret = await heard(served, /the secret is (\S+)/);

    await workshop.write('token.js', guide.take('token.js'));
    await workshop.write('backend.js', BACKEND);
    const backend = workshop.node('backend.js', { ROWCAST_JWT_SECRET: secret });
    const [, url = ''] = await backend.said(/^(http:.*)$/m);

    await workshop.write('orders.js', guide.take('orders.js').replace('localhost:8080', address));
    const page = workshop.open(await workshop.bundle('orders.js'), { backend: url });
    await shows(page, '2: 30, 1: 10');
    await database.query(`update orders set status = 'open' where id = 4; delete from orders where id = 2`);
    await shows(page, '1: 10, 4: 5');
    expect(page.stdout).not.toContain('3: 20');
  });

  it('has types that the rows are of', async () => {
    await database.query(
      `create table orders (id int primary key, customer_id int not null, status text not null, total int not null);
       select rowcast.watch('orders')`,
    );
    const types = await workshop.shell(guide.take('types'), { DATABASE_URL: database.url });
    expect(types).toMatchObject({ code: 0 });
    const check = async (text: string) => {
      await workshop.write('typed.ts', text);
      const tsc = join(process.cwd(), 'node_modules/.bin/tsc');
      const flags =
        '--strict --noEmit --module nodenext --target es2023 --lib es2023,dom --allowImportingTsExtensions';
      return workshop.shell(`${tsc} ${flags} --types "" typed.ts`);
    };
    const typed = guide.take('typed.ts');
    expect(await check(typed)).toEqual({ code: 0, said: '' });
    expect((await check(typed.replace('row.status', 'row.state'))).said).toContain("'state' does not exist");
  });
});

const BACKEND = `
  import { createServer } from 'node:http';
  import { tokenOf } from './token.js';
  const server = createServer(async (request, response) => {
    response.end(request.url === '/token' ? await tokenOf({ name: 'anna', customerId: 7 }) : '');
  });
  server.listen(0, '127.0.0.1', () => console.log('http://127.0.0.1:' + server.address().port));
`;

describe('a page', () => {
  let instance: Instance;
  beforeEach(async () => {
    await database.query(
      `create table messages (id int primary key, content text);
       select rowcast.watch('messages', access => 'public');
       insert into messages values (1, 'a'), (2, 'b')`,
    );
    instance = await startInstance(database.url, ORIGINS);
    const client = guide.take('client.js').replace('localhost:8080', new URL(instance.http).host);
    await workshop.write('client.js', client);
  });
  afterEach(() => instance.stop());

  const VUE = `
    import { createApp } from 'vue';
    import Messages from './Messages.vue';
    createApp(Messages).mount(document.body.appendChild(document.createElement('div')));
  `;
  const SVELTE = `
    import { mount } from 'svelte';
    import Messages from './Messages.svelte';
    mount(Messages, { target: document.body });
  `;

  it.each([
    ['without a framework', ['plain.js'], `import './plain.js';`],
    ['of Vue', ['use-live.js', 'Messages.vue'], VUE],
    ['of Svelte', ['live-store.js', 'Messages.svelte'], SVELTE],
  ])('%s shows what the table holds, and says when it is not live', async (_, files, entry) => {
    for (const name of files) await workshop.write(name, guide.take(name));
    await workshop.write('entry.js', entry);
    const page = workshop.open(await workshop.bundle('entry.js'));
    await shows(page, 'b, a');
    await database.query(
      `begin; insert into messages values (3, 'c'); delete from messages where id = 1; commit`,
    );
    await shows(page, 'c, b');
    await database.query('truncate messages');
    await shows(page, '');
    await instance.stop();
    await shows(page, 'offline');
  });
});

describe('of the guide', () => {
  it('no block is untried', () => {
    expect(guide.untried()).toEqual([]);
  });
});
