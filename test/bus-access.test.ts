/** Whom a NATS server lets in: credentials, rights and certificates, and what is told of those that do not fit. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from '@jest/globals';
import { freePort } from '../src/dev/port.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { startInstance } from './harness/instance.ts';
import { describeWithNats, type Nats, startNats } from './harness/nats.ts';
import { addressOf, type Program, runProgram, startProgram } from './harness/program.ts';
import { connect, type Socket } from './harness/socket.ts';

const PASSWORD = 'p@ss/w:rd';
const CREDENTIALS = `ok:${encodeURIComponent(PASSWORD)}@`;
const USERS = `
  authorization { users = [
    { user: ok, password: "${PASSWORD}", permissions: { publish: "rowcast.1.>", subscribe: "rowcast.1.>" } }
    { user: hears, password: "${PASSWORD}", permissions: { publish: { deny: ">" } } }
    { user: says, password: "${PASSWORD}", permissions: { subscribe: { deny: "rowcast.>" } } }
  ] }`;

const releases: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

async function kept<T extends { stop(): Promise<void> }>(starting: Promise<T>): Promise<T> {
  const started = await starting;
  releases.push(() => started.stop());
  return started;
}

async function database(): Promise<Database> {
  const made = await createDatabase();
  releases.push(made.drop);
  await made.query(
    `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
  );
  return made;
}

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'rowcast-nats-'));
  releases.push(() => rm(made, { recursive: true, force: true }));
  return made;
}

/** A server with that configuration. */
async function natsWith(configuration: string, ...args: string[]): Promise<Nats> {
  const file = join(await folder(), 'nats.conf');
  await writeFile(file, configuration);
  return kept(startNats(['-c', file, ...args]));
}

const withUser = ({ url }: Nats, user: string) => url.replace('://', `://${user}`);

/** Waits until `/readyz` says so; it says ready all along. */
async function says(http: string, pattern: RegExp): Promise<string> {
  return until(
    async () => {
      const response = await fetch(`${http}/readyz`);
      expect(response.status).toBe(200);
      const text = await response.text();
      return pattern.test(text) && text;
    },
    { timeoutMs: 20_000, what: `/readyz says ${pattern}` },
  );
}

const BY_NATS = /"bus":"nats"/;

/** The program, since certificates are named by its environment. */
async function serve({ url }: Database, env: Record<string, string>): Promise<[Program, string]> {
  const program = startProgram(['serve'], {
    env: { DATABASE_URL: url, HOST: '127.0.0.1', PORT: '0', ROWCAST_DRAIN_MS: '0', ...env },
  });
  releases.push(async () => {
    program.kill('SIGTERM');
    await program.ended;
  });
  return [program, await addressOf(program)];
}

/** What the doctor finds of the bus; all else is well. */
async function doctor({ url }: Database, env: Record<string, string>): Promise<unknown> {
  const { code, stdout, stderr } = await runProgram(['doctor', '--json'], {
    env: { DATABASE_URL: url, ...env },
  });
  expect(stderr).toBe('');
  expect(stdout).not.toContain('hunter2');
  expect(stdout).not.toContain(PASSWORD);
  const findings: { check: string; remedy?: string }[] = JSON.parse(stdout);
  expect(findings.filter(({ check, remedy }) => check !== 'bus' && remedy !== undefined)).toEqual([]);
  return { code, ...findings.find(({ check }) => check === 'bus') };
}

/** A certificate of this machine, made by itself, and a server that has it. */
async function natsByTls(): Promise<{ url: string; cert: string }> {
  const place = await folder();
  const [key, cert] = [join(place, 'key.pem'), join(place, 'cert.pem')];
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'];
  await promisify(execFile)('openssl', [...request, '-addext', names, '-keyout', key, '-out', cert]);
  const nats = await natsWith(USERS, '--tls', '--tlscert', cert, '--tlskey', key);
  return { url: withUser(nats, CREDENTIALS).replace('nats:', 'tls:'), cert };
}

async function follow(http: string): Promise<Socket> {
  const client = await connect(`${http.replace('http', 'ws')}/ws`);
  client.send({ type: 'subscribe', id: 'i', topic: 'item' });
  await client.next('subscribed');
  return client;
}

describeWithNats('a NATS server', () => {
  it('takes user and password, or a token', async () => {
    const db = await database();
    const byUser = await natsWith(USERS);
    const byToken = await kept(startNats(['--auth', 't0ken/']));
    const urls = [withUser(byUser, CREDENTIALS), withUser(byToken, `${encodeURIComponent('t0ken/')}@`)];
    for (const url of urls) {
      const { http, stop } = await kept(startInstance(db.url, { ROWCAST_BUS: url }));
      await says(http, BY_NATS);
      // The next one leads.
      await stop();
    }
  });

  it.each([
    ['a wrong password', 'ok:hunter2@', 'Authorization Violation: the server refuses the user'],
    ['none', '', 'Authorization Violation'],
    [
      'no right to publish',
      `hears:${encodeURIComponent(PASSWORD)}@`,
      'Permissions Violation for Publish to .*rowcast.1.',
    ],
    [
      'no right to subscribe',
      `says:${encodeURIComponent(PASSWORD)}@`,
      'Permissions Violation for Subscription to .*rowcast.1.',
    ],
  ])('is done without where there is %s, which is told once and tried again', async (_, user, why) => {
    const db = await database();
    const monitor = await freePort();
    const nats = await natsWith(USERS, '-m', String(monitor));
    const connections = async (): Promise<number> => {
      const { total_connections } = JSON.parse(
        await (await fetch(`http://127.0.0.1:${monitor}/varz`)).text(),
      );
      return total_connections;
    };
    const [program, http] = await serve(db, { ROWCAST_BUS: withUser(nats, user) });
    await program.said(/"event":"leader.elected"/);
    const client = await follow(http);
    const before = await connections();
    // Each attempt is two.
    await until(async () => (await connections()) >= before + 6, {
      timeoutMs: 20_000,
      what: 'it tries again',
    });
    const state = await says(http, new RegExp(`"bus":"postgres","because":"NATS: ${why}`));
    await db.query('insert into item values (1)');
    await client.next('change');
    const told = program.stdout.split('\n').filter((line) => line.includes('"event":"bus.'));
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(new RegExp(`"event":"bus.down","reason":"NATS: ${why}`));
    for (const text of [state, program.stdout, program.stderr]) {
      expect(text).not.toContain('hunter2');
      expect(text).not.toContain(PASSWORD);
    }
    await client.close();
  });

  it('is spoken to by TLS where its certificate is trusted, and not where it is not', async () => {
    const db = await database();
    const { url, cert } = await natsByTls();
    const env = { ROWCAST_BUS: url, NODE_EXTRA_CA_CERTS: cert };
    const [, first] = await serve(db, env);
    await says(first, BY_NATS);
    const [, second] = await serve(db, { ...env, ROWCAST_BUS: url.replace('127.0.0.1', 'localhost') });
    await says(second, BY_NATS);
    const [, third] = await serve(db, { ROWCAST_BUS: url });
    await says(third, /"bus":"postgres","because":"NATS: .*certificate/);
    const clients = [await follow(first), await follow(second), await follow(third)];
    await db.query('insert into item values (1)');
    for (const client of clients) {
      await client.next('change');
      await client.close();
    }
  });

  it('without TLS is not spoken to where TLS was asked for', async () => {
    const db = await database();
    const nats = await kept(startNats());
    const { http } = await kept(startInstance(db.url, { ROWCAST_BUS: nats.url.replace('nats:', 'tls:') }));
    await says(http, /"bus":"postgres","because":"NATS: .*tls/);
  });

  it('that shuts down is left by all at once, and nobody waits for the leader', async () => {
    const db = await database();
    const nats = await kept(startNats());
    const instances = [];
    const clients: Socket[] = [];
    for (let n = 0; n < 3; n++) {
      const instance = await kept(startInstance(db.url, { ROWCAST_BUS: nats.url }));
      instances.push(instance);
      clients.push(await instance.subscriber('item'));
    }
    for (const { http } of instances) await says(http, BY_NATS);
    nats.shutDown();
    for (const { http, observed } of instances) {
      await says(http, /"bus":"postgres"/);
      const { reason } = await observed.next('bus.down', undefined, 5_000);
      expect(reason).toBe('NATS: the server is shutting down');
    }
    await db.query('insert into item values (1)');
    for (const client of clients) {
      await client.next('change');
      await client.close();
    }
    await nats.stop();
    await nats.start();
    for (const { http } of instances) await says(http, BY_NATS);
  });

  it('is looked at by the doctor, who says what to do', async () => {
    const db = await database();
    const nats = await natsWith(USERS);
    const other = `:${encodeURIComponent(PASSWORD)}@`;
    const found = (url: string, env: Record<string, string> = {}) => doctor(db, { ROWCAST_BUS: url, ...env });
    const fault = (reason: string, remedy: string) => ({
      code: 1,
      found: expect.stringMatching(`^the NATS server .*: .*${reason}`),
      remedy: expect.stringMatching(`${remedy}.*; until then each instance LISTENs$`),
    });
    expect(await found('postgres')).toEqual({
      code: 0,
      check: 'bus',
      found: 'each instance hears of commits from PostgreSQL',
    });
    expect(await found(withUser(nats, CREDENTIALS))).toEqual({
      code: 0,
      check: 'bus',
      found: expect.stringMatching(/NATS server 127.0.0.1:\d+ was heard after [\d.]+ ms$/),
    });
    const refused = fault('Authorization Violation', 'mend user and password.* in ROWCAST_BUS');
    expect(await found(withUser(nats, 'ok:hunter2@'))).toMatchObject(refused);
    for (const user of ['hears', 'says']) {
      const denied = fault('Permissions Violation', 'publish and subscribe to rowcast.1.>');
      expect(await found(withUser(nats, user + other))).toMatchObject(denied);
    }
    const plain = fault('tls', 'nats:// in place of tls://');
    expect(await found(withUser(nats, CREDENTIALS).replace('nats:', 'tls:'))).toMatchObject(plain);
    expect(await found('nats://127.0.0.1:1')).toMatchObject(fault('ECONNREFUSED', 'host and port'));
    const { url, cert } = await natsByTls();
    expect(await found(url)).toMatchObject(fault('certificate', 'NODE_EXTRA_CA_CERTS'));
    expect(await found(url, { NODE_EXTRA_CA_CERTS: cert })).toMatchObject({ code: 0 });
  });
});
