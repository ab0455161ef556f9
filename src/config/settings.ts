/** The one table of settings: what each may be, and what people should know of it. */
import { z } from 'zod';
import {
  bus,
  bytes,
  channels,
  duration,
  httpUrl,
  type Kind,
  oneOf,
  optional,
  origins,
  postgresUrl,
  publicKey,
  secret,
  text,
  toggle,
  whole,
} from '../setting.ts';

/** What is known of one setting, for people. */
export interface Setting {
  readonly name: string;
  /** As one would write it; left out where there is none. */
  readonly default?: string;
  readonly description: string;
  /** What completes "must be …". */
  readonly allowed: string;
  /** Its value is never shown. */
  readonly secret?: boolean;
}

const registry = z.registry<Setting>();

function setting<T>({ allowed, schema }: Kind<T>, about: Omit<Setting, 'allowed'>): z.ZodType<T> {
  return schema.register(registry, { ...about, allowed });
}

export const schema = z.object({
  databaseUrl: setting(postgresUrl(), {
    name: 'DATABASE_URL',
    description: 'The database whose changes are pushed. A pooler in between is fine here.',
    secret: true,
  }),
  listenUrl: setting(optional(postgresUrl()), {
    name: 'ROWCAST_LISTEN_URL',
    description:
      'A direct connection for LISTEN, where `DATABASE_URL` leads through a pooler. Left out: `DATABASE_URL`.',
    secret: true,
  }),
  host: setting(text('an address to listen on'), {
    name: 'HOST',
    default: '0.0.0.0',
    description: 'The address to listen on.',
  }),
  port: setting(whole(0, 65_535), {
    name: 'PORT',
    default: '8080',
    description: 'The port to listen on; 0 takes a free one.',
  }),
  logLevel: setting(oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'), {
    name: 'LOG_LEVEL',
    default: 'info',
    description: 'The least severe lines that are logged. Each commit is a line at `debug`.',
  }),
  origins: setting(origins(), {
    name: 'ROWCAST_ORIGINS',
    default: 'self',
    description:
      'Pages of which origins may connect; `self` is the very host that they connect to. Programs, which send no origin, always may.',
  }),
  channels: setting(optional(channels()), {
    name: 'ROWCAST_CHANNELS',
    description:
      'Which channels clients may join and publish to, and, with @, to which users they may send messages. `*` is any text, `{claim}` what the token claims; the rights are `join`, `publish`, `presence`, by which those who join are seen there and see who else is, and, for clients without a token, `public`. None by default.',
  }),
  jwtSecret: setting(optional(secret(32)), {
    name: 'ROWCAST_JWT_SECRET',
    description:
      'Tokens are signed by HS256 with this secret. It, a public key or a JWKS: one of the three, or no tokens.',
    secret: true,
  }),
  jwtPublicKey: setting(optional(publicKey()), {
    name: 'ROWCAST_JWT_PUBLIC_KEY',
    description:
      'Tokens are signed with the private key of this one: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).',
    // Who sets the wrong half of the pair must not see it in a log.
    secret: true,
  }),
  jwksUrl: setting(optional(httpUrl()), {
    name: 'ROWCAST_JWKS_URL',
    description:
      'Tokens are signed with keys published here (RS256, ES256, EdDSA), as identity providers do. They are fetched when they are needed, and again when a token names one that is not there.',
  }),
  jwtIssuer: setting(optional(text('the `iss` of tokens, as it stands in them')), {
    name: 'ROWCAST_JWT_ISSUER',
    description: 'Tokens of this issuer alone are valid.',
  }),
  jwtAudience: setting(optional(text('one of the `aud` of tokens, as it stands in them')), {
    name: 'ROWCAST_JWT_AUDIENCE',
    description: 'Tokens for this audience alone are valid.',
  }),
  serviceToken: setting(optional(secret(16)), {
    name: 'ROWCAST_SERVICE_TOKEN',
    description:
      'What services send as `Authorization: Bearer …` to publish and to see and end sessions over HTTP. Without it nobody can.',
    secret: true,
  }),
  maxConnections: setting(whole(1, 10_000_000), {
    name: 'ROWCAST_MAX_CONNECTIONS',
    default: '100000',
    description: 'Client connections that one instance takes.',
  }),
  maxConnectionsPerIp: setting(whole(0, 10_000_000), {
    name: 'ROWCAST_MAX_CONNECTIONS_PER_IP',
    default: '0',
    description:
      'Client connections that one instance takes from one address (of IPv6, from one /64); 0: as many as it takes at all. Behind a proxy set ROWCAST_TRUST_PROXY too, or all clients have its address.',
  }),
  trustProxy: setting(whole(0, 16), {
    name: 'ROWCAST_TRUST_PROXY',
    default: '0',
    description:
      'How many proxies stand before the service, each of which appends to `X-Forwarded-For`: a client is known by the address that many from its right end. 0: by that of its connection.',
  }),
  maxSubscriptions: setting(whole(1, 100_000), {
    name: 'ROWCAST_MAX_SUBSCRIPTIONS',
    default: '100',
    description: 'Subscriptions that one connection may hold.',
  }),
  maxFrameBytes: setting(bytes('1KiB', '16MiB'), {
    name: 'ROWCAST_MAX_FRAME_BYTES',
    default: '64KiB',
    description: 'The largest frame that a client may send.',
  }),
  maxBufferedBytes: setting(bytes('64KiB', '1GiB'), {
    name: 'ROWCAST_MAX_BUFFERED_BYTES',
    default: '16MiB',
    description: 'What may wait for one slow client before its connection is closed with 4408, to resume.',
  }),
  maxFramesPerSecond: setting(whole(1, 100_000), {
    name: 'ROWCAST_MAX_FRAMES_PER_SECOND',
    default: '200',
    description: 'Frames that one connection may send in a second.',
  }),
  heartbeatMs: setting(whole(100, 300_000, 'milliseconds'), {
    name: 'ROWCAST_HEARTBEAT_MS',
    default: '25000',
    description: 'How often a quiet client is sent its cursor.',
  }),
  drainMs: setting(whole(0, 600_000, 'milliseconds'), {
    name: 'ROWCAST_DRAIN_MS',
    default: '10000',
    description:
      'Over how long clients are sent away, evenly, when the instance stops. `/readyz` is 503 and the port open throughout; it ends early when no client is left, but not in its first tenth, in which load balancers may see that.',
  }),
  ringBytes: setting(bytes('64KiB', '64GiB'), {
    name: 'ROWCAST_RING_BYTES',
    default: '64MiB',
    description: 'Recent commits kept in memory, from which clients resume without a query.',
  }),
  retentionMs: setting(duration('1 min', '365 days'), {
    name: 'ROWCAST_RETENTION',
    default: '24 hours',
    description: 'How long the log keeps a commit, and so how long a client can be away and still resume.',
  }),
  retentionBytes: setting(bytes('1MiB', '16TiB'), {
    name: 'ROWCAST_RETENTION_BYTES',
    default: '10GiB',
    description: 'The size past which the log gives up its oldest commits before their time.',
  }),
  compression: setting(toggle(), {
    name: 'ROWCAST_COMPRESSION',
    default: 'off',
    description:
      'Compresses frames (permessage-deflate): less traffic, for CPU and memory on every connection.',
  }),
  bus: setting(bus(), {
    name: 'ROWCAST_BUS',
    default: 'postgres',
    description:
      'How instances hear of commits: each from PostgreSQL, or all but one by NATS, so that PostgreSQL has one listener however many there are. While NATS is gone, from PostgreSQL.',
    secret: true,
  }),
});

/** Every setting, in the order in which people should read them. */
export const settings: readonly Setting[] = Object.values(schema.shape).map(aboutOf);

export function aboutOf(of: z.ZodType): Setting {
  const about = registry.get(of);
  if (about === undefined) throw new Error('a setting is not registered');
  return about;
}
