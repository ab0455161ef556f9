/** Tokens: who is let in by which, with keys of every kind, and a JWKS that is served over HTTP. */
import { execFile } from 'node:child_process';
import { createSecretKey, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from '@jest/globals';
import { base64url, exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { createAuth } from '../src/auth.ts';
import { readConfig } from '../src/config.ts';
import { observations } from './harness/facts.ts';
import { SECRET, tokenOf } from './harness/tokens.ts';

const NOW = Date.UTC(2026, 0, 2);
const AT = NOW / 1_000;
const DATABASE_URL = 'postgres://localhost/test';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

function authOf(
  env: Record<string, string>,
  options: { jwksCooldownMs?: number; jwksMaxAgeMs?: number } = {},
) {
  const seen = observations();
  const auth = createAuth({
    config: readConfig({ DATABASE_URL, ...env }),
    observe: seen.observe,
    now: () => NOW,
    ...options,
  });
  return { verify: auth.verify, seen };
}

type Key = Parameters<SignJWT['sign']>[0];

function sign(key: Key, alg: string, claims: JWTPayload = {}, kid?: string): Promise<string> {
  const header = { alg, ...(kid === undefined ? {} : { kid }) };
  return new SignJWT({ sub: '42', exp: AT + 60, ...claims }).setProtectedHeader(header).sign(key);
}

/** Serves keys that a test may change, as an identity provider does. */
async function serveKeys(
  keys: object[],
): Promise<{ url: string; fetched(): number; answer(status: number): void }> {
  let fetched = 0;
  let status = 200;
  const server = createServer((_, response) => {
    fetched++;
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => new Promise((resolve) => server.close(resolve)));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/keys`,
    fetched: () => fetched,
    answer(next) {
      status = next;
    },
  };
}

const refused = (message: string) => ({ code: 'unauthorized', message: expect.stringContaining(message) });

describe('a token by a secret', () => {
  const { verify, seen } = authOf({ ROWCAST_JWT_SECRET: SECRET });
  const by = (claims: JWTPayload) => tokenOf({ sub: '42', exp: AT + 60, ...claims });

  it('says who it is of, what it claims and until when', async () => {
    const claims = { sub: '42', exp: AT + 60, org: 7 };
    expect(await verify(await by({ org: 7 }))).toEqual({
      identity: { user: '42', claims },
      expiresAtMs: NOW + 65_000,
    });
    const forEver = await new SignJWT({ sub: '42' })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(new TextEncoder().encode(SECRET));
    expect(await verify(forEver)).toMatchObject({ expiresAtMs: null });
  });

  it('is taken a little past its time and before it, and no further', async () => {
    await verify(await by({ exp: AT - 4 }));
    await verify(await by({ nbf: AT + 4 }));
    await expect(verify(await by({ exp: AT - 6 }))).rejects.toMatchObject(refused('run out'));
    await expect(verify(await by({ nbf: AT + 6 }))).rejects.toMatchObject(refused('"nbf"'));
  });

  it.each<[string, () => string | Promise<string>, string]>([
    ['that is none', () => 'hunter2', 'no JSON Web Token'],
    ['that is empty', () => '', 'no JSON Web Token'],
    ['that is huge', () => 'x'.repeat(20_000), 'longer than'],
    [
      'of another secret',
      () => tokenOf({ sub: '42', exp: AT + 60 }, `${SECRET}!`),
      'not signed with the key',
    ],
    ['without a user', () => tokenOf({ exp: AT + 60 }), '"sub" is missing'],
    ['of a user without a name', () => by({ sub: '' }), '"sub" is empty'],
    [
      'without a signature',
      () =>
        `${base64url.encode('{"alg":"none"}')}.${base64url.encode(JSON.stringify({ sub: '42', exp: AT + 60 }))}.`,
      '',
    ],
    ['by another algorithm', () => sign(randomBytes(64), 'HS512'), 'another algorithm'],
  ])('%s is refused', async (_, make, message) => {
    const token = await make();
    await expect(verify(token)).rejects.toMatchObject(refused(message));
    const told = JSON.stringify(seen.all.filter(({ type }) => type === 'auth.refused'));
    if (token !== '') expect(told).not.toContain(token.slice(0, 40));
  });
});

describe('a token by a public key', () => {
  it.each(['RS256', 'ES256', 'EdDSA'])('is checked by %s alone', async (alg) => {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    const pem = await exportSPKI(publicKey);
    const { verify } = authOf({ ROWCAST_JWT_PUBLIC_KEY: pem.replaceAll('\n', '\\n') });
    expect(await verify(await sign(privateKey, alg))).toMatchObject({ identity: { user: '42' } });
    const other = await generateKeyPair(alg);
    await expect(verify(await sign(other.privateKey, alg))).rejects.toMatchObject(refused('not signed'));
    // The key is public: whoever has it must not sign with it.
    for (const text of [pem, pem.trim(), pem.replaceAll('\n', '\\n')]) {
      const forged = await sign(createSecretKey(Buffer.from(text)), 'HS256');
      await expect(verify(forged)).rejects.toMatchObject(refused('another algorithm'));
    }
  });
});

describe('a token of an issuer and an audience', () => {
  const { verify } = authOf({
    ROWCAST_JWT_SECRET: SECRET,
    ROWCAST_JWT_ISSUER: 'https://id.example.com',
    ROWCAST_JWT_AUDIENCE: 'rowcast',
  });
  const by = (claims: JWTPayload) =>
    tokenOf({ sub: '42', exp: AT + 60, iss: 'https://id.example.com', aud: 'rowcast', ...claims });

  it('is of those alone', async () => {
    await verify(await by({}));
    await verify(await by({ aud: ['other', 'rowcast'] }));
    await expect(verify(await by({ iss: 'https://id.example.com/' }))).rejects.toMatchObject(
      refused('"iss"'),
    );
    await expect(verify(await by({ aud: 'other' }))).rejects.toMatchObject(refused('"aud"'));
    await expect(verify(await tokenOf({ sub: '42', exp: AT + 60 }))).rejects.toMatchObject(
      refused('is missing'),
    );
  });
});

describe('a token by published keys', () => {
  it('is checked by those, fetched once, and again when a new one signs', async () => {
    const keys: object[] = [];
    const { url, fetched } = await serveKeys(keys);
    const { verify } = authOf({ ROWCAST_JWKS_URL: url }, { jwksCooldownMs: 0 });
    const made = await Promise.all(
      ['RS256', 'ES256', 'EdDSA'].map(async (alg) => {
        const pair = await generateKeyPair(alg, { extractable: true });
        return {
          alg,
          kid: alg,
          pair,
          jwk: { ...(await exportJWK(pair.publicKey)), kid: alg, alg, use: 'sig' },
        };
      }),
    );
    keys.push(...made.slice(0, 2).map(({ jwk }) => jwk));
    for (const { alg, kid, pair } of made.slice(0, 2)) {
      for (let n = 0; n < 3; n++) await verify(await sign(pair.privateKey, alg, {}, kid));
    }
    expect(fetched()).toBe(1);
    const rotated = made[2];
    if (rotated === undefined) throw new Error('no third key');
    keys.splice(0, 2, rotated.jwk);
    await verify(await sign(rotated.pair.privateKey, rotated.alg, {}, rotated.kid));
    expect(fetched()).toBe(2);
    const old = await sign(made[0]?.pair.privateKey ?? new Uint8Array(), 'RS256', {}, 'RS256');
    await expect(verify(old)).rejects.toMatchObject(refused('not among the published ones'));
  });

  it('is checked by each of them where it does not say by which', async () => {
    const made = await Promise.all(
      ['ES256', 'ES256', 'ES256'].map((alg) => generateKeyPair(alg, { extractable: true })),
    );
    const { url } = await serveKeys(
      await Promise.all(
        made.slice(0, 2).map(async ({ publicKey }) => ({ ...(await exportJWK(publicKey)), alg: 'ES256' })),
      ),
    );
    const { verify } = authOf({ ROWCAST_JWKS_URL: url });
    const tokens = await Promise.all(made.map(({ privateKey }) => sign(privateKey, 'ES256')));
    for (const token of tokens.slice(0, 2))
      expect(await verify(token)).toMatchObject({ identity: { user: '42' } });
    await expect(verify(tokens[2] ?? '')).rejects.toMatchObject(refused('not signed'));
  });

  it('does not have them fetched by whoever sends many that are unknown', async () => {
    const { url, fetched } = await serveKeys([]);
    const { verify } = authOf({ ROWCAST_JWKS_URL: url });
    const { privateKey } = await generateKeyPair('ES256');
    for (let n = 0; n < 10; n++) {
      const token = await sign(privateKey, 'ES256', {}, `unknown ${n}`);
      await expect(verify(token)).rejects.toMatchObject(refused('not among'));
    }
    expect(fetched()).toBe(1);
  });

  it('is checked by those that were fetched last, while they cannot be fetched anew', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    const { url, answer, fetched } = await serveKeys([
      { ...(await exportJWK(publicKey)), kid: 'a', alg: 'ES256' },
    ]);
    const { verify } = authOf({ ROWCAST_JWKS_URL: url }, { jwksMaxAgeMs: 0, jwksCooldownMs: 0 });
    const token = await sign(privateKey, 'ES256', {}, 'a');
    await verify(token);
    answer(500);
    await verify(token);
    expect(fetched()).toBeGreaterThan(1);
    const forged = await sign((await generateKeyPair('ES256')).privateKey, 'ES256', {}, 'a');
    await expect(verify(forged)).rejects.toMatchObject(refused('not signed'));
    const other = await sign(privateKey, 'ES256', {}, 'b');
    await expect(verify(other)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('cannot be told while they cannot be fetched', async () => {
    const { url, answer } = await serveKeys([]);
    const { privateKey } = await generateKeyPair('ES256');
    const token = await sign(privateKey, 'ES256', {}, 'a');
    const { verify, seen } = authOf({ ROWCAST_JWKS_URL: url });
    answer(500);
    await expect(verify(token)).rejects.toMatchObject({ code: 'unavailable' });
    await seen.next('auth.refused', ({ reason }) => reason === 'unavailable');
    const nobody = authOf({ ROWCAST_JWKS_URL: 'http://127.0.0.1:9/keys' });
    await expect(nobody.verify(token)).rejects.toMatchObject({ code: 'unavailable' });
  });
});

it('without a key no token is taken', async () => {
  const { verify } = authOf({});
  await expect(verify(await tokenOf({ sub: '42' }))).rejects.toMatchObject(refused('takes no tokens'));
});

it("as the README's example makes it is taken", async () => {
  const readme = await readFile('README.md', 'utf8');
  const [, example = ''] = /^```sh\n(export ROWCAST_JWT_SECRET=.*?)```/ms.exec(readme) ?? [];
  const { stdout } = await promisify(execFile)('sh', ['-c', `${example}\necho "$ROWCAST_JWT_SECRET"`]);
  const [token = '', secret = ''] = stdout.trim().split('\n');
  const auth = createAuth({
    config: readConfig({ DATABASE_URL, ROWCAST_JWT_SECRET: secret }),
    observe: () => undefined,
  });
  expect((await auth.verify(token)).identity).toMatchObject({ user: 'anna', claims: { customer: '7' } });
});
