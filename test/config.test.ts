import { generateKeyPairSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import { createChannels } from '../src/channels.ts';
import { ConfigError, readConfig, settings, settingsHelp, settingsTable } from '../src/config.ts';

const url = 'postgres://app:hunter2@db.internal:5432/shop';

/** The problems of an environment that holds a database and `env`. */
function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    readConfig({ DATABASE_URL: url, ...env });
  } catch (thrown) {
    if (thrown instanceof ConfigError) return thrown.problems;
    throw thrown;
  }
  return [];
}

describe('the configuration', () => {
  it('has a value for everything but the database', () => {
    expect(readConfig({ DATABASE_URL: url })).toEqual({
      databaseUrl: url,
      listenUrl: url,
      host: '0.0.0.0',
      port: 8080,
      logLevel: 'info',
      origins: ['self'],
      maxConnections: 100_000,
      maxConnectionsPerIp: 0,
      trustProxy: 0,
      maxSubscriptions: 100,
      maxFrameBytes: 65_536,
      maxBufferedBytes: 16_777_216,
      maxFramesPerSecond: 200,
      heartbeatMs: 25_000,
      drainMs: 10_000,
      ringBytes: 67_108_864,
      retentionMs: 86_400_000,
      retentionBytes: 10_737_418_240,
      compression: false,
      bus: 'postgres',
    });
  });

  it('accepts what its own defaults say, written out', () => {
    const written = settings.map(({ name, default: preset }) => [name, preset] as const);
    expect(readConfig({ ...Object.fromEntries(written), DATABASE_URL: url })).toEqual(
      readConfig({ DATABASE_URL: url }),
    );
  });

  it('takes a variable set to nothing as not set, and space around a value as nothing', () => {
    expect(readConfig({ DATABASE_URL: url, PORT: '', ROWCAST_DRAIN_MS: ' 5 ' })).toMatchObject({
      port: 8080,
      drainMs: 5,
    });
  });

  it('keeps a direct connection for the listener', () => {
    const direct = 'postgresql:///shop?host=/var/run/postgresql';
    expect(readConfig({ DATABASE_URL: url, ROWCAST_LISTEN_URL: direct }).listenUrl).toBe(direct);
  });

  it('tells everything that is wrong at once, one line each', () => {
    const wrong = {
      DATABASE_URL: '',
      PORT: 'http',
      LOG_LEVEL: 'chatty',
      ROWCAST_RETENTION: '24 moons',
      ROWCAST_COMPRESSION: 'maybe',
      ROWCAST_ORGINS: '*',
    };
    expect(problemsOf(wrong)).toEqual([
      'ROWCAST_ORGINS is no setting of rowcast; the nearest is ROWCAST_ORIGINS',
      'DATABASE_URL is not set; it must be a URL such as postgres://user:password@host:5432/database (or postgresql://…)',
      'PORT: "http" must be a whole number from 0 to 65535',
      'LOG_LEVEL: "chatty" must be one of trace, debug, info, warn, error, fatal, silent',
      'ROWCAST_RETENTION: "24 moons" must be a duration such as 90 min, 24 hours or 7 days, from 1 min to 365 days',
      'ROWCAST_COMPRESSION: "maybe" must be on, off, true, false, 1 or 0',
    ]);
    expect(() => readConfig(wrong)).toThrow(problemsOf(wrong).join('\n'));
  });

  it.each([
    ['24 hours', 86_400_000],
    ['24h', 86_400_000],
    ['90 min', 5_400_000],
    ['7 days', 604_800_000],
    ['1 week', 604_800_000],
    ['120 S', 120_000],
  ])('reads the duration %s', (given, ms) => {
    expect(readConfig({ DATABASE_URL: url, ROWCAST_RETENTION: given }).retentionMs).toBe(ms);
  });

  it.each(['24', '-1 h', '1.5 h', 'h', '59 s', '366 days', '1 fortnight'])(
    'refuses the duration %s',
    (given) => {
      expect(problemsOf({ ROWCAST_RETENTION: given })).toHaveLength(1);
    },
  );

  it.each([
    ['1048576', 1_048_576],
    ['64MiB', 67_108_864],
    ['64 mib', 67_108_864],
    ['1 GiB', 1_073_741_824],
    ['65536 B', 65_536],
  ])('reads the size %s', (given, size) => {
    expect(readConfig({ DATABASE_URL: url, ROWCAST_RING_BYTES: given }).ringBytes).toBe(size);
  });

  it.each(['64MB', '64M', '1.5GiB', '-1', '65535', '65GiB', 'MiB', '1e9'])('refuses the size %s', (given) => {
    expect(problemsOf({ ROWCAST_RING_BYTES: given })).toHaveLength(1);
  });

  it.each(['99', '300001', '25.5', '25s', '0x3e8', '١٠٠٠'])('refuses %s milliseconds', (given) => {
    expect(problemsOf({ ROWCAST_HEARTBEAT_MS: given })).toEqual([
      `ROWCAST_HEARTBEAT_MS: "${given}" must be a whole number of milliseconds from 100 to 300000`,
    ]);
  });

  it.each([
    ['on', true],
    ['true', true],
    ['1', true],
    ['OFF', false],
    ['false', false],
    ['0', false],
  ])('reads the switch %s', (given, on) => {
    expect(readConfig({ DATABASE_URL: url, ROWCAST_COMPRESSION: given }).compression).toBe(on);
  });

  it('reads origins as browsers send them', () => {
    const given = 'https://App.Example.com:443/, http://localhost:5173,https://*.example.com,';
    expect(readConfig({ DATABASE_URL: url, ROWCAST_ORIGINS: given }).origins).toEqual([
      'https://app.example.com',
      'http://localhost:5173',
      'https://*.example.com',
    ]);
    expect(problemsOf({ ROWCAST_ORIGINS: 'https://a.example.com,b.example.com' })).toEqual([
      expect.stringContaining('("b.example.com" is no origin)'),
    ]);
  });

  const KEY = 'x'.repeat(32);
  const pem = (type: 'rsa' | 'ed25519' | 'ec', half: 'publicKey' | 'privateKey' = 'publicKey') => {
    const pair =
      type === 'rsa'
        ? generateKeyPairSync('rsa', { modulusLength: 1024 })
        : type === 'ec'
          ? generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
          : generateKeyPairSync('ed25519');
    return pair[half].export({ type: half === 'publicKey' ? 'spki' : 'pkcs8', format: 'pem' }).toString();
  };
  it.each<[string, Record<string, string>, string]>([
    [
      'a secret that is short',
      { ROWCAST_JWT_SECRET: 'hunter2' },
      'ROWCAST_JWT_SECRET: must be a secret of at least 32 bytes',
    ],
    ['a service token that is short', { ROWCAST_SERVICE_TOKEN: 'hunter2' }, '(it has 7 bytes)'],
    ['no key', { ROWCAST_JWT_PUBLIC_KEY: 'a key' }, 'must be a public key as PEM'],
    ['a private key', { ROWCAST_JWT_PUBLIC_KEY: pem('ed25519', 'privateKey') }, '(it is a private key'],
    ['a short RSA key', { ROWCAST_JWT_PUBLIC_KEY: pem('rsa') }, 'none of RSA with 2048 bits'],
    ['another curve', { ROWCAST_JWT_PUBLIC_KEY: pem('ec') }, 'none of RSA with 2048 bits'],
    [
      'no address of keys',
      { ROWCAST_JWKS_URL: 'file:///keys' },
      'ROWCAST_JWKS_URL: "file:///keys" must be a URL',
    ],
    [
      'two keys',
      { ROWCAST_JWT_SECRET: KEY, ROWCAST_JWKS_URL: 'https://id.example.com/keys' },
      'ROWCAST_JWT_SECRET and ROWCAST_JWKS_URL exclude each other',
    ],
    ['an issuer without a key', { ROWCAST_JWT_ISSUER: 'https://id' }, 'ROWCAST_JWT_ISSUER needs a key: set'],
  ])('refuses %s', (_, env, why) => {
    const problems = problemsOf(env);
    expect(problems).toEqual([expect.stringContaining(why)]);
    expect(problems.join()).not.toMatch(/hunter2|BEGIN PRIVATE|xxx/);
  });

  it('takes a public key with \\n for its line breaks', () => {
    const ROWCAST_JWT_PUBLIC_KEY = pem('ed25519').replaceAll('\n', '\\n');
    expect(readConfig({ DATABASE_URL: url, ROWCAST_JWT_PUBLIC_KEY }).jwtPublicKey?.asymmetricKeyType).toBe(
      'ed25519',
    );
  });

  it.each([
    'lobby',
    'lobby:',
    ':join',
    'lobby:dance',
    'lobby:public',
    '@*:join',
    'a{b:join',
    'a{}:join',
    '%:join',
    'lobby:presence',
    'lobby:publish+presence',
  ])('refuses the channel rule %s', (rule) => {
    expect(problemsOf({ ROWCAST_CHANNELS: `news:join, ${rule}` })).toEqual([
      expect.stringContaining(`(${JSON.stringify(rule)} is no rule)`),
    ]);
  });

  it.each([
    ['lobby', 'lobby', true],
    ['lobby', 'lobby2', false],
    ['room-*', 'room-7', true],
    ['room-*', 'room-', true],
    ['room-*', 'a room-7', false],
    ['a.b', 'axb', false],
    ['a%3Ab%2Cc', 'a:b,c', true],
    ['team-{team}', 'team-red', true],
    ['team-{team}', 'team-*', false],
    ['team-{teams}-*', 'team-b.c-9', true],
    ['team-{teams}-*', 'team-bxc-9', false],
    ['team-{none}', 'team-', false],
    ['{sub}', 'anna', true],
    ['*', 'any\nthing', true],
  ])('has the channel rule %s for %j: %s', (pattern, channel, allowed) => {
    const { channels = [] } = readConfig({ DATABASE_URL: url, ROWCAST_CHANNELS: `${pattern}:join` });
    const claims = { sub: 'anna', team: 'red', teams: ['a', 'b.c'] };
    const { mayJoin } = createChannels(channels);
    expect(mayJoin(channel, { user: 'anna', claims })).toBe(allowed);
    expect(mayJoin(channel, null)).toBe(false);
  });

  it.each([
    ['another scheme', 'mysql://app:hunter2@db/shop', 'does not begin with postgres://'],
    ['no scheme', 'app:hunter2@db/shop', 'does not begin with postgres://'],
    ['a # in the password', 'postgres://app:hunter2#1@db/shop', 'percent-encoded'],
    ['a space for a host', 'postgres://app:hunter2@a b/shop', 'no valid URL'],
    ['a port out of range', 'postgres://app:hunter2@db:99999/shop', 'no valid URL'],
    ['a bare %', 'postgres://app:hunter2%@db/shop', '%25'],
  ])('refuses a database address with %s and keeps its password', (_, given, why) => {
    for (const name of ['DATABASE_URL', 'ROWCAST_LISTEN_URL']) {
      const problems = problemsOf({ [name]: given });
      expect(problems).toEqual([expect.stringContaining(why)]);
      expect(problems[0]).toMatch(new RegExp(`^${name}: must be a URL such as`));
      expect(problems.join()).not.toContain('hunter2');
    }
  });

  it('takes a database address over a socket, with a user', () => {
    expect(problemsOf({ DATABASE_URL: 'postgres://app@/shop?host=/var/run/postgresql' })).toEqual([]);
  });

  it.each([
    'postgres',
    'nats://nats:4222',
    'tls://rowcast:hunter2@nats.example.com',
    'nats://token@[::1]:4222',
  ])('takes the bus %s as it is', (bus) => {
    expect(readConfig({ DATABASE_URL: url, ROWCAST_BUS: bus }).bus).toBe(bus);
  });

  it.each([
    ['kafka', ''],
    ['nats:/rowcast:hunter2@nats', ''],
    ['nats://rowcast:hunter2@nats:port', ' (it is no valid URL)'],
    ['nats://', ' (it names no host)'],
    ['nats://nats:4222/hunter2', ' (nothing may follow the port)'],
    ['nats://rowcast:hunter2%@nats', ' (a % in it must be written %25)'],
  ])('refuses the bus %s, without showing it', (bus, why) => {
    expect(problemsOf({ ROWCAST_BUS: bus })).toEqual([
      `ROWCAST_BUS: must be postgres, or a URL such as nats://user:password@host:4222 (or tls://…)${why}`,
    ]);
  });

  it('leaves alone what Kubernetes sets beside a service named rowcast', () => {
    const links = {
      ROWCAST_SERVICE_HOST: '10.0.0.1',
      ROWCAST_SERVICE_PORT: '8080',
      ROWCAST_SERVICE_PORT_HTTP: '8080',
      ROWCAST_PORT: 'tcp://10.0.0.1:8080',
      ROWCAST_PORT_8080_TCP: 'tcp://10.0.0.1:8080',
      ROWCAST_PORT_8080_TCP_PROTO: 'tcp',
      ROWCAST_DEMO_PORT: 'tcp://10.0.0.2:80',
      ROWCAST_DEMO_PORT_80_TCP_ADDR: '10.0.0.2',
    };
    expect(problemsOf(links)).toEqual([]);
    expect(problemsOf({ ROWCAST_PORT: '9000' })).toEqual([
      expect.stringMatching(/^ROWCAST_PORT is no setting/),
    ]);
  });

  it('is told by the help and the table, from the same source', () => {
    for (const { name, default: preset = '', allowed } of settings) {
      for (const told of [settingsHelp(), settingsTable()]) {
        expect(told).toContain(name);
        expect(told).toContain(preset);
        expect(told).toContain(allowed);
      }
    }
  });

  it("is told by the README's table", async () => {
    const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
    const [, table] = /<!-- settings -->\n+([\s\S]*?)\n+<!-- \/settings -->/.exec(readme) ?? [];
    expect(table).toBe(settingsTable());
  });
});
