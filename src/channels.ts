/**
 * Channels: which of them clients may join and publish to, as a list of rules says.
 *
 * A rule is `pattern:rights`. In a pattern `*` stands for any characters and `{claim}` for what the client's token
 * claims; one that begins with `@` is of users, whom clients may send private messages. Rights are `join`, `publish`
 * or both, `presence` for who joins to be seen there and to see who else is, and `public` for clients without a token,
 * joined by `+`. What no rule allows is not allowed.
 */
import { type Identity, valuesOf } from './identity.ts';

export interface ChannelRule {
  readonly pattern: Pattern;
  readonly join: boolean;
  readonly publish: boolean;
  /** Whoever joins is seen there, and sees who else is. */
  readonly presence: boolean;
  /** For clients without a token as well. */
  readonly public: boolean;
}

/** Texts, and the places between them. */
type Pattern = readonly (string | { readonly any: true } | { readonly claim: string })[];

export interface Channels {
  mayJoin(channel: string, identity: Identity | null): boolean;
  mayPublish(channel: string, identity: Identity | null): boolean;
  /** Whether who is subscribed to the channel is seen there, and sees who else is. */
  isPresent(channel: string, identity: Identity | null): boolean;
  /** Whether a private message may be sent to the user. */
  maySend(user: string, identity: Identity | null): boolean;
}

const RIGHTS = ['join', 'publish', 'presence', 'public'] as const;

/** Reads one rule; undefined for what is none. */
export function parseChannelRule(text: string): ChannelRule | undefined {
  const colon = text.lastIndexOf(':');
  const pattern = parsePattern(text.slice(0, Math.max(colon, 0)).trim());
  const rights = text
    .slice(colon + 1)
    .split('+')
    .map((word) => word.trim().toLowerCase());
  if (pattern === undefined || rights.some((word) => !RIGHTS.some((known) => known === word)))
    return undefined;
  const [join, publish, presence, isPublic] = RIGHTS.map((known) => rights.includes(known));
  if (!join && (!publish || presence)) return undefined;
  // An inbox is its user's own, whoever may send to it.
  if (join && pattern[0] !== undefined && String(pattern[0]).startsWith('@')) return undefined;
  return {
    pattern,
    join: join === true,
    publish: publish === true,
    presence: presence === true,
    public: isPublic === true,
  };
}

function parsePattern(text: string): Pattern | undefined {
  if (text === '' || text === '@') return undefined;
  const pattern: Pattern[number][] = [];
  for (const [part] of text.matchAll(/\*|\{[^{}]*\}|[^*{}]+|./gsu)) {
    if (part === '*') pattern.push({ any: true });
    else if (part.length > 2 && part.startsWith('{') && part.endsWith('}'))
      pattern.push({ claim: part.slice(1, -1) });
    else if (/[{}]/.test(part)) return undefined;
    else {
      const decoded = decode(part);
      if (decoded === undefined) return undefined;
      pattern.push(decoded);
    }
  }
  return pattern;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

export function createChannels(rules: readonly ChannelRule[]): Channels {
  function allows(right: 'join' | 'publish' | 'presence', name: string, identity: Identity | null): boolean {
    return rules.some(
      (rule) => rule[right] && (rule.public || identity !== null) && matches(rule.pattern, name, identity),
    );
  }

  return {
    // A channel's own name may begin with an @, and is none of a user.
    mayJoin: (channel, identity) => !channel.startsWith('@') && allows('join', channel, identity),
    mayPublish: (channel, identity) => !channel.startsWith('@') && allows('publish', channel, identity),
    isPresent: (channel, identity) => !channel.startsWith('@') && allows('presence', channel, identity),
    maySend: (user, identity) => allows('publish', `@${user}`, identity),
  };
}

function matches(pattern: Pattern, name: string, identity: Identity | null): boolean {
  const source = pattern.map((part) => {
    if (typeof part === 'string') return escaped(part);
    if ('any' in part) return '.*';
    const values = identity === null ? [] : valuesOf(identity, part.claim).filter((value) => value !== '');
    // What is not claimed matches nothing.
    return values.length === 0 ? '[]' : `(?:${values.map(escaped).join('|')})`;
  });
  return new RegExp(`^${source.join('')}$`, 's').test(name);
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
