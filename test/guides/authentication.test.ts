/** docs/authentication.md: its settings take tokens like those of each provider, and refuse others with the answers it names. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { createDatabase, type Database } from '../harness/database.ts';
import { type Instance, startInstance } from '../harness/instance.ts';
import { SECRET, tokenOf } from '../harness/tokens.ts';
import { type Guide, readGuide } from './blocks.ts';
import { openWorkshop, shows, type Workshop } from './workshop.ts';

const CUSTOMER = 'https://shop.example/customer';
const { privateKey, publicKey } = await generateKeyPair('RS256');
const { privateKey: otherKey } = await generateKeyPair('RS256');

let guide: Guide;
let database: Database;
let workshop: Workshop;
/** Keys at every path, and a token for the page. */
const server = createServer(async ({ url }, response) => {
  if (url === '/token') return response.end(await sign({ [CUSTOMER]: 7, sub: 'anna' }));
  paths.push(url ?? '');
  return response.end(
    JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'RS256' }] }),
  );
});
let paths: string[] = [];
let address: string;
let instance: Instance | undefined;
beforeAll(async () => {
  guide = await readGuide('authentication');
  database = await createDatabase();
  workshop = await openWorkshop();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  await instance?.stop();
  instance = undefined;
});
afterAll(async () => {
  await workshop.close();
  await database.drop();
  await new Promise((resolve) => server.close(resolve));
});

let issued: JWTPayload = {};
function sign(claims: JWTPayload = {}, key = privateKey, kid = 'one'): Promise<string> {
  return new SignJWT({ sub: 'anna', exp: Math.floor(Date.now() / 1000) + 60, ...issued, ...claims })
    .setProtectedHeader({ alg: 'RS256', kid })
    .sign(key);
}

/** Starts an instance with the settings of a block, but for where the keys are. */
async function startWith(provider: string): Promise<Instance> {
  const settings = Object.fromEntries(
    guide
      .take(provider)
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/)),
  );
  const { ROWCAST_JWKS_URL: jwks, ROWCAST_JWT_ISSUER: iss, ROWCAST_JWT_AUDIENCE: aud } = settings;
  const { pathname } = new URL(jwks);
  issued = { iss, ...(aud === undefined ? {} : { aud: [aud, 'https://other.example'] }) };
  paths = [];
  instance = await startInstance(database.url, {
    ...settings,
    ROWCAST_JWKS_URL: `${address}${pathname}`,
    ROWCAST_ORIGINS: 'http://localhost:5173',
  });
  return instance;
}

/** What the service answers to a token: nothing where it takes it. */
async function refusal(token: string): Promise<string | undefined> {
  if (instance === undefined) throw new Error('there is no instance');
  const client = await instance.client();
  client.send({ type: 'auth', id: 'a', token });
  const { type, message } = await Promise.race([client.next('authenticated'), client.next('error')]);
  client.terminate();
  return type === 'error' ? String(message).replace('; this connection ends', '') : undefined;
}

describe('with the settings for', () => {
  it.each(['auth0', 'keycloak', 'clerk'])('%s, its tokens are taken, and no others', async (provider) => {
    await startWith(provider);
    expect(await refusal(await sign())).toBeUndefined();
    expect(paths).toHaveLength(1);
    const iss = String(issued.iss);
    const otherIss = iss.endsWith('/') ? iss.slice(0, -1) : `${iss}/`;
    expect(await refusal(await sign({ iss: otherIss }))).toContain(`"iss"`);
    if (issued.aud !== undefined) expect(await refusal(await sign({ aud: 'account' }))).toContain(`"aud"`);
  });

  it('any of them, the answers are those of the table', async () => {
    await startWith('auth0');
    const answers = [
      await refusal(await sign({ iss: 'https://other.example' })),
      await refusal(await sign({ aud: 'the page' })),
      await refusal('undefined'),
      await refusal(await sign({}, otherKey, 'two')),
      await refusal(await tokenOf(issued, SECRET)),
      await refusal(await sign({ exp: Math.floor(Date.now() / 1000) - 60 })),
    ];
    await instance?.stop();
    instance = await startInstance(database.url, { ROWCAST_JWKS_URL: 'http://127.0.0.1:1/keys' });
    answers.push(await refusal(await sign()));
    const table = Array.from(guide.text.matchAll(/^\| `(the .+?|tokens .+?)` \|/gm), ([, answer]) => answer);
    expect(answers).toEqual(table);
  });
});

describe('a page', () => {
  it('shows the rows that the claims of its token are bound to', async () => {
    await database.query(
      `create table orders (id int primary key, customer_id int); insert into orders values (1, 7), (2, 8);
       create table notes (id int primary key, author text); insert into notes values (3, 'anna'), (4, 'bob')`,
    );
    expect(await workshop.shell(guide.take('scope'), { DATABASE_URL: database.url })).toMatchObject({
      code: 0,
    });
    const { http } = await startWith('auth0');
    await workshop.write('scoped.js', guide.take('scoped.js').replace('localhost:8080', new URL(http).host));
    const page = workshop.open(await workshop.bundle('scoped.js'), { backend: address });
    await shows(page, 'orders 1, notes 3');
    await database.query(
      `update orders set customer_id = 7 where id = 2; insert into notes values (5, 'anna'), (6, 'bob')`,
    );
    await shows(page, 'orders 1 2, notes 3 5');
  });
});

describe('of the guide', () => {
  it('no block is untried', () => {
    expect(guide.untried()).toEqual([]);
  });
});
