/** `rowcast dev`: PostgreSQL of its own or a given one, the page, its form, and rows on a socket. */
import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { createDatabase } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Program, type ProgramOptions, startProgram } from './harness/program.ts';
import { startServer } from './harness/server.ts';
import { connect, type Socket } from './harness/socket.ts';
import { withClient } from './harness/suite.ts';

const releases: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

interface Dev {
  program: Program;
  address: string;
  /** Standard output, once all of it has been said. */
  said: string;
}

async function startDev({ env = {}, cwd }: ProgramOptions): Promise<Dev> {
  const settings = { PORT: '0', HOST: '127.0.0.1', ROWCAST_DRAIN_MS: '0', ...env };
  const program = startProgram(['dev'], { env: settings, ...(cwd === undefined ? {} : { cwd }) });
  releases.push(() => {
    program.kill('SIGTERM');
    return program.ended;
  });
  await program.said(/To stop:/);
  const [, address = ''] = await program.said(/The page: +(http:\S+)\//);
  return { program, address, said: program.stdout };
}

async function subscriber(address: string): Promise<Socket> {
  const socket = await connect(`${address.replace('http', 'ws')}/ws`);
  releases.push(() => socket.close());
  socket.send({ type: 'subscribe', id: 'm', topic: 'messages' });
  await socket.next('subscribed');
  return socket;
}

function post(address: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${address}/demo/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  });
}

describe('dev', () => {
  it('runs a PostgreSQL of its own, in a folder that only its owner can read', async () => {
    const cwd = await mkdtemp(join(tmpdir(), 'rowcast-dev-'));
    releases.push(() => rm(cwd, { recursive: true, force: true }));
    await chmod(cwd, 0o700);
    const { program, address, said } = await startDev({ cwd });

    const page = await fetch(address);
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    const html = await page.text();
    // All that it loads is served here.
    const loaded = [...html.matchAll(/(?:src|href)="(?!data:|#)([^"]*)"/g)].map(([, path]) => path ?? '');
    expect(loaded).toEqual(['/dev/page/style.css', '/dev/page/app.js']);
    for (const path of [...loaded, '/client.js'])
      expect((await fetch(`${address}${path}`)).headers.get('content-type')).toMatch(
        /^text\/(css|javascript)/,
      );

    const socket = await subscriber(address);
    const [, url = ''] = /psql "(postgresql:[^"]+)" -c "insert into messages/.exec(said) ?? [];
    await withClient(url, (client) => client.query(`insert into messages (content) values ('by hand')`));
    expect(await socket.next('change')).toMatchObject({ changes: [{ new: { content: 'by hand' } }] });

    const second = startProgram(['dev'], { cwd, env: { PORT: '0' } });
    const { code, stderr } = await second.ended;
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^rowcast: .*in use.*\n$/)]);

    program.kill('SIGINT');
    expect(await program.ended).toMatchObject({ code: 0, stderr: '' });

    const again = await startDev({ cwd });
    const back = await connect(`${again.address.replace('http', 'ws')}/ws`);
    back.send({ type: 'subscribe', id: 'm', topic: 'messages', snapshot: true });
    expect(await back.next('snapshot')).toMatchObject({ rows: [{ id: 1, content: 'by hand' }] });
    await back.close();
    if (process.getuid?.() !== 0) expect((await stat(join(cwd, '.rowcast'))).isDirectory()).toBe(true);
  });

  it('uses the database of DATABASE_URL, whose password it does not print', async () => {
    const database = await createDatabase();
    releases.push(() => database.drop());
    const { address, said } = await startDev({ env: { DATABASE_URL: database.url } });
    expect(said).toContain('psql "$DATABASE_URL" -c');
    expect(said).not.toContain(new URL(database.url).password);

    const socket = await subscriber(address);
    const answer = await post(address, '{"content":" hello ","room_id":7}');
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ id: 1, room_id: 7, content: 'hello' });
    expect(await socket.next('change')).toMatchObject({ changes: [{ op: 'insert', key: { id: 1 } }] });

    const tricky = `'); drop table messages; --`;
    await post(address, JSON.stringify({ content: tricky }));
    const { rows } = await database.query('select content from messages order by id');
    expect(rows).toEqual([{ content: 'hello' }, { content: tricky }]);
  });

  it('says when PostgreSQL goes and when it is back, for people', async () => {
    const server = await startServer();
    releases.push(server.dispose);
    const { program, address } = await startDev({ env: { DATABASE_URL: server.url } });
    const socket = await subscriber(address);
    const calm = `select from pg_locks where locktype = 'advisory' and objid = 6 and granted`;
    for (const round of [1, 2]) {
      // What it reads as leader is read: one that fails has a line of its own.
      await until(async () => (await server.query(calm)).rows.length === 1, { what: 'it is calm' });
      await server.stop();
      await program.said(new RegExp(`(PostgreSQL is gone: \\S[^]*){${round}}`));
      await server.start();
      await program.said(new RegExp(`(PostgreSQL is back[^]*){${round}}`));
      await server.query('insert into messages (content) values ($1)', [`after ${round}`]);
      await socket.next('change', ({ changes }) => JSON.stringify(changes).includes(`after ${round}`));
    }
    expect(program.stdout.match(/PostgreSQL is (gone|back).*/g)).toEqual([
      expect.stringMatching(/^PostgreSQL is gone: .*; trying again until it is back$/),
      'PostgreSQL is back, and what was committed meanwhile is caught up with',
      expect.stringMatching(/^PostgreSQL is gone: .*; trying again until it is back$/),
      'PostgreSQL is back, and what was committed meanwhile is caught up with',
    ]);
    expect(program.stdout).not.toContain('"event"');
  });

  it('refuses what is no message', async () => {
    const database = await createDatabase();
    releases.push(() => database.drop());
    const { address } = await startDev({ env: { DATABASE_URL: database.url } });
    const long = 'x'.repeat(2_001);
    const cases: [status: number, body: string, headers?: Record<string, string>][] = [
      [400, 'hello'],
      [400, '[]'],
      [400, '{"content":"  "}'],
      [400, '{"content":7}'],
      [400, `{"content":"${long}"}`],
      [400, '{"content":"x","room_id":2147483648}'],
      [413, `{"content":"${'x'.repeat(20_000)}"}`],
      [415, '{"content":"x"}', { 'content-type': 'text/plain' }],
      [403, '{"content":"x"}', { origin: 'https://evil.example' }],
    ];
    for (const [status, body, headers] of cases) {
      const answer = await post(address, body, headers);
      expect([answer.status, body]).toEqual([status, body]);
      expect(await answer.json()).toEqual({ error: expect.any(String) });
    }
    expect((await database.query('select * from messages')).rows).toEqual([]);
  });
});
