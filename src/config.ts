/**
 * The configuration: what the environment says, checked once at the start.
 *
 * Owns the one table of settings, from which the check, the command line's help
 * and the README's table are made. Promises that a `Config` needs no second
 * check, and that no message shows a secret.
 */
import { z } from 'zod';
import {
  bus,
  bytes,
  duration,
  type Kind,
  nearestName,
  oneOf,
  optional,
  origins,
  postgresUrl,
  text,
  toggle,
  whole,
} from './setting.ts';

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

const schema = z.object({
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
  maxConnections: setting(whole(1, 10_000_000), {
    name: 'ROWCAST_MAX_CONNECTIONS',
    default: '100000',
    description: 'Client connections that one instance takes.',
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

/** The checked configuration: sizes in bytes (`…Bytes`), durations in milliseconds (`…Ms`). */
export type Config = Readonly<z.output<typeof schema> & { listenUrl: string }>;

/** The environment is not usable. `problems` has one line for each thing wrong; `message` is all of them. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/** Every setting, in the order in which people should read them. */
export const settings: readonly Setting[] = Object.values(schema.shape).map(aboutOf);

function aboutOf(of: z.ZodType): Setting {
  const about = registry.get(of);
  if (about === undefined) throw new Error('a setting is not registered');
  return about;
}

/**
 * Reads the configuration from an environment (`process.env`, or any record like it).
 * A variable set to nothing counts as not set. Throws one `ConfigError` with all problems.
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const input: Record<string, string | undefined> = {};
  for (const [key, of] of Object.entries(schema.shape)) {
    const about = aboutOf(of);
    input[key] = env[about.name]?.trim() || about.default;
  }
  const parsed = schema.safeParse(input);
  const problems = Object.keys(env).flatMap((name) =>
    isUnknown(name, env[name]) ? [unknownName(name)] : [],
  );
  if (!parsed.success) {
    const shape = new Map<PropertyKey, z.ZodType>(Object.entries(schema.shape));
    for (const issue of parsed.error.issues) {
      const [key = ''] = issue.path;
      const of = shape.get(key);
      if (of !== undefined) problems.push(badValue(aboutOf(of), input[String(key)], issue));
    }
  }
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  const config = parsed.data;
  return Object.freeze({ ...config, listenUrl: config.listenUrl ?? config.databaseUrl });
}

function badValue(about: Setting, value: string | undefined, issue: z.core.$ZodIssue): string {
  if (value === undefined) return `${about.name} is not set; it must be ${about.allowed}`;
  const shown = about.secret ? '' : ` ${shownValue(withoutPasswords(value))}`;
  const why = issue.code === 'custom' && issue.message !== about.allowed ? ` (${issue.message})` : '';
  return `${about.name}:${shown} must be ${about.allowed}${withoutPasswords(why)}`;
}

/** No setting but the secret ones should hold a password; one that does is not shown all the same. */
function withoutPasswords(words: string): string {
  return words.replace(/\/\/.*@/g, '//***@');
}

function shownValue(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 79)}…` : value);
}

/** What Kubernetes sets by itself in every pod beside a service whose name begins with `rowcast`. */
const serviceLink =
  /^ROWCAST_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

function isUnknown(name: string, value: string | undefined): boolean {
  if (!name.startsWith('ROWCAST_') || settings.some((known) => known.name === name)) return false;
  const linked = serviceLink.test(name) || (/_PORT$/.test(name) && /^(tcp|udp|sctp):\/\//.test(value ?? ''));
  return !linked;
}

function unknownName(name: string): string {
  const nearest = nearestName(
    name,
    settings.map((known) => known.name),
  );
  return `${name} is no setting of rowcast; the nearest is ${nearest}`;
}

/** The settings as a Markdown table, for the README. */
export function settingsTable(): string {
  const rows = settings.map(({ name, default: preset, allowed, description }) =>
    [`\`${name}\``, preset === undefined ? '' : `\`${preset}\``, description, allowed].join(' | '),
  );
  return ['Variable | Default | What it does | Values', '--- | --- | --- | ---', ...rows]
    .map((row) => `| ${row} |`)
    .join('\n');
}

/** The settings as plain text, for the command line's help. */
export function settingsHelp(): string {
  return settings
    .map(({ name, default: preset, allowed, description }) => {
      const head = preset === undefined ? `  ${name}` : `  ${name} (${preset})`;
      return `${head}\n      ${description.replaceAll('`', '')}\n      ${allowed}`;
    })
    .join('\n');
}
