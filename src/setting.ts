/**
 * What a setting of the environment can be: kinds of value, each of which
 * turns text into a checked value and says in words what it allows.
 *
 * A kind that may be secret never repeats the text it was given.
 */
import { type ChannelRule, parseChannelRule } from './channels.ts';
import { parseOrigin } from './origin.ts';
import { type Kind, kind, Refusal } from './setting/kind.ts';

export { algorithmOf, publicKey, secret } from './setting/keys.ts';
export type { Kind } from './setting/kind.ts';

/** The same kind, with undefined for a setting that is not set. */
export function optional<T>({ allowed, schema }: Kind<T>): Kind<T | undefined> {
  return { allowed, schema: schema.optional() };
}

/** Any text. */
export function text(allowed: string): Kind<string> {
  return kind(allowed, (given) => given);
}

/** One of the words given, in lower case. */
export function oneOf<const W extends string>(...words: W[]): Kind<W> {
  return kind(`one of ${words.join(', ')}`, (given) => {
    const found = words.find((word) => word === given.toLowerCase());
    if (found === undefined) throw new Refusal();
    return found;
  });
}

/** `on` or `off`, and what people write for them. */
export function toggle(): Kind<boolean> {
  return kind('on, off, true, false, 1 or 0', (given) => {
    if (/^(on|true|1)$/i.test(given)) return true;
    if (/^(off|false|0)$/i.test(given)) return false;
    throw new Refusal();
  });
}

function within(value: number, min: number, max: number): number {
  if (!Number.isSafeInteger(value) || value < min || value > max) throw new Refusal();
  return value;
}

/** A whole number from `min` to `max`; `unit` is named where it has one. */
export function whole(min: number, max: number, unit?: string): Kind<number> {
  const of = unit === undefined ? '' : ` of ${unit}`;
  return kind(`a whole number${of} from ${min} to ${max}`, (given) => {
    if (!/^\d+$/.test(given)) throw new Refusal();
    return within(Number(given), min, max);
  });
}

const byteUnits = new Map([
  ['', 1],
  ['b', 1],
  ['kib', 2 ** 10],
  ['mib', 2 ** 20],
  ['gib', 2 ** 30],
  ['tib', 2 ** 40],
]);

const durationUnits = new Map([
  ...['s', 'sec', 'second', 'seconds'].map((unit) => [unit, 1_000] as const),
  ...['m', 'min', 'minute', 'minutes'].map((unit) => [unit, 60_000] as const),
  ...['h', 'hour', 'hours'].map((unit) => [unit, 3_600_000] as const),
  ...['d', 'day', 'days'].map((unit) => [unit, 86_400_000] as const),
  ...['w', 'week', 'weeks'].map((unit) => [unit, 604_800_000] as const),
]);

/** A whole number followed by a unit, multiplied out. */
function measure(units: ReadonlyMap<string, number>, given: string): number {
  const [, digits, unit] = /^(\d+)\s*([a-z]*)$/i.exec(given) ?? [];
  const factor = units.get((unit ?? '-').toLowerCase());
  if (factor === undefined) throw new Refusal();
  return Number(digits) * factor;
}

/** Bytes, as a number or with a unit. `min` and `max` are written as the setting would be. */
export function bytes(min: string, max: string): Kind<number> {
  const [least, most] = [measure(byteUnits, min), measure(byteUnits, max)];
  return kind(`bytes, or a number of KiB, MiB, GiB or TiB, from ${min} to ${max}`, (given) =>
    within(measure(byteUnits, given), least, most),
  );
}

/** A duration with its unit, in milliseconds. `min` and `max` are written as the setting would be. */
export function duration(min: string, max: string): Kind<number> {
  const [least, most] = [measure(durationUnits, min), measure(durationUnits, max)];
  return kind(`a duration such as 90 min, 24 hours or 7 days, from ${min} to ${max}`, (given) =>
    within(measure(durationUnits, given), least, most),
  );
}

/** The address of a PostgreSQL database, as given. */
export function postgresUrl(): Kind<string> {
  return kind('a URL such as postgres://user:password@host:5432/database (or postgresql://…)', (given) => {
    if (!/^postgres(ql)?:\/\//i.test(given)) throw new Refusal('it does not begin with postgres://');
    // `user@/database?host=/socket/folder` has no host, which the driver takes and URL refuses.
    const withHost = given.replace('@/', '@socket/');
    if (!URL.canParse(withHost)) {
      throw new Refusal(
        'it is no valid URL; characters such as # / ? @ in a password must be percent-encoded',
      );
    }
    const url = new URL(withHost);
    for (const part of [url.username, url.password, url.pathname]) {
      if (/%(?![0-9a-f]{2})/i.test(part)) throw new Refusal('a % in it must be written %25');
    }
    return given;
  });
}

/** The address of something on the web. */
export function httpUrl(): Kind<string> {
  return kind('a URL such as https://id.example.com/.well-known/jwks.json', (given) => {
    if (!/^https?:\/\//i.test(given) || !URL.canParse(given)) throw new Refusal();
    return given;
  });
}

/** Origins of browser pages, comma-separated, each as `parseOrigin` writes it. */
export function origins(): Kind<readonly string[]> {
  return kind('comma-separated: self, https://app.example.com, https://*.example.com, or *', (given) =>
    given
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== '')
      .map((entry) => {
        const origin = parseOrigin(entry);
        if (origin === undefined) throw new Refusal(`${JSON.stringify(entry)} is no origin`);
        return origin;
      }),
  );
}

/** Rules of channels, as `parseChannelRule` reads them. */
export function channels(): Kind<readonly ChannelRule[]> {
  return kind(
    'comma-separated rules such as lobby:join+publish+presence, news:join+public, team-{team}:join or @*:publish',
    (given) =>
      given
        .split(',')
        .map((entry) => entry.trim())
        .filter((entry) => entry !== '')
        .map((entry) => {
          const rule = parseChannelRule(entry);
          if (rule === undefined) throw new Refusal(`${JSON.stringify(entry)} is no rule`);
          return rule;
        }),
  );
}

/** What instances hear of commits by: PostgreSQL, or the address of a NATS server, as given. */
export function bus(): Kind<string> {
  return kind('postgres, or a URL such as nats://user:password@host:4222 (or tls://…)', (given) => {
    if (given === 'postgres') return given;
    if (!/^(nats|tls):\/\//i.test(given)) throw new Refusal();
    if (!URL.canParse(given)) throw new Refusal('it is no valid URL');
    const { hostname, username, password, pathname, search } = new URL(given);
    if (hostname === '') throw new Refusal('it names no host');
    if (pathname.length > 1 || search !== '') throw new Refusal('nothing may follow the port');
    if (/%(?![0-9a-f]{2})/i.test(username + password)) throw new Refusal('a % in it must be written %25');
    return given;
  });
}

/** The one of `names` that is the fewest typing mistakes away from `name`. */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  const byDistance = names.map((known) => ({ known, distance: editDistance(name, known) }));
  return byDistance.sort((a, b) => a.distance - b.distance)[0]?.known;
}

/** Characters to insert, delete or replace to make `b` of `a`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
