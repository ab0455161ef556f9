/**
 * The configuration: what the environment says, checked once at the start.
 *
 * Owns the one table of settings, from which the check, the command line's help
 * and the README's table are made. Promises that a `Config` needs no second
 * check, and that no message shows a secret.
 */
import type { z } from 'zod';
import { aboutOf, type Setting, schema, settings } from './config/settings.ts';
import { nearestName } from './setting.ts';

export { type Setting, settings } from './config/settings.ts';
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
  if (parsed.success) problems.push(...contradictions(parsed.data));
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  const config = parsed.data;
  return Object.freeze({ ...config, listenUrl: config.listenUrl ?? config.databaseUrl });
}

function contradictions(config: z.output<typeof schema>): string[] {
  const keys = [
    ['ROWCAST_JWT_SECRET', config.jwtSecret],
    ['ROWCAST_JWT_PUBLIC_KEY', config.jwtPublicKey],
    ['ROWCAST_JWKS_URL', config.jwksUrl],
  ].flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (keys.length > 1)
    return [`${keys.join(' and ')} exclude each other: set the one that tokens are signed for`];
  const checks = [
    ['ROWCAST_JWT_ISSUER', config.jwtIssuer],
    ['ROWCAST_JWT_AUDIENCE', config.jwtAudience],
  ].flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (keys.length > 0 || checks.length === 0) return [];
  return [
    `${checks.join(' and ')} needs a key: set ROWCAST_JWT_SECRET, ROWCAST_JWT_PUBLIC_KEY or ROWCAST_JWKS_URL too`,
  ];
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
