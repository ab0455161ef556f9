/**
 * Topics: the grammar of what a client can subscribe to, and the one canonical
 * spelling of each (PROTOCOL.md, "Topics").
 *
 * It promises that any string gives a topic or a `ProtocolError` of `bad_topic`;
 * that a parsed topic is in normal form (ops and filters in order, each once); and
 * that the canonical spelling reads back as the very same topic. What names and
 * values mean to the database is the catalog's to say: it casts the values, and
 * `withFilters` puts the canonical literals in.
 */
import { type Filter, normalFilters, parseFilters, spellFilter } from './topic/filter.ts';
import { badTopic, cut, decode, encode, parseName, RESERVED, shown } from './topic/text.ts';

export {
  type Filter,
  IS_VALUES,
  type IsValue,
  SCALAR_OPERATORS,
  type ScalarOperator,
} from './topic/filter.ts';

declare const brand: unique symbol;
/** A topic in its canonical spelling, or a user's inbox. `canonicalTopic` and `inboxOf` alone make one. */
export type Topic = string & { readonly [brand]: 'Topic' };

/** The operations, in canonical order. */
export const OPS = ['insert', 'update', 'delete', 'truncate'] as const;
export type Op = (typeof OPS)[number];

/** Changes of one table: those of `ops` (never empty) to rows that match every filter. */
export type TableTopic = {
  readonly kind: 'table';
  readonly schema: string;
  readonly table: string;
  readonly ops: readonly Op[];
  readonly filters: readonly Filter[];
};
export type ChannelTopic = { readonly kind: 'channel'; readonly name: string };
export type InboxTopic = { readonly kind: 'inbox' };
export type ParsedTopic = TableTopic | ChannelTopic | InboxTopic;

/** Lengths are in UTF-16 units, as JavaScript counts them; they bind both spellings, given and canonical. */
export type TopicLimits = { readonly maxLength: number; readonly maxFilters: number };
export const TOPIC_LIMITS: TopicLimits = { maxLength: 4096, maxFilters: 16 };
/** The longest name of a channel, decoded, in code points, as PostgreSQL counts. */
export const MAX_CHANNEL_LENGTH = 128;

/**
 * Reads any spelling of a topic into its normal form. Throws `bad_topic` saying what was wrong and
 * where.
 */
export function parseTopic(text: string, limits: TopicLimits = TOPIC_LIMITS): ParsedTopic {
  checkLength(text, limits);
  if (/\p{Cs}/u.test(text)) throw badTopic('the topic holds half a surrogate pair, which is no character');
  if (text.startsWith('#')) return parseChannel(text.slice(1));
  if (text.startsWith('@')) {
    if (text === '@me') return { kind: 'inbox' };
    throw badTopic(`the inbox is "@me" alone, not ${shown(text)}; write an @ in a name as %40`);
  }
  const topic = parseTable(text, limits);
  checkLength(canonicalTopic(topic), limits);
  return topic;
}

/** The topic of a channel, by its decoded name. Throws `bad_topic` on an empty or too long one. */
export function channelTopic(name: string): ChannelTopic {
  if (name === '') throw badTopic('the channel has no name; write #name');
  const { length } = [...name];
  if (length > MAX_CHANNEL_LENGTH)
    throw badTopic(`the channel's name has ${length} characters; the limit is ${MAX_CHANNEL_LENGTH}`);
  return { kind: 'channel', name };
}

/**
 * The same topic with these filters instead, in normal form. Throws `bad_topic` where its spelling
 * becomes too long; how many there are is not limited, since the server may add its own.
 */
export function withFilters(
  topic: TableTopic,
  filters: readonly Filter[],
  limits: TopicLimits = TOPIC_LIMITS,
): TableTopic {
  const changed = { ...topic, filters: normalFilters(filters) };
  checkLength(canonicalTopic(changed), limits);
  return changed;
}

/** The one spelling of a topic, in whatever order its ops and filters come. */
export function canonicalTopic(topic: ParsedTopic): Topic {
  // The brand's one source.
  return spell(topic) as Topic;
}

/** What the inbox of one user is among the topics of all; clients know each their own, as `@me`. */
export function inboxOf(user: string): Topic {
  return `@me:${user}` as Topic;
}

function spell(topic: ParsedTopic): string {
  if (topic.kind === 'inbox') return '@me';
  if (topic.kind === 'channel') return `#${encode(topic.name, RESERVED.channel)}`;
  const name = `${encode(topic.schema, RESERVED.name)}.${encode(topic.table, RESERVED.name)}`;
  const ops = normalOps(topic.ops);
  const filters = normalFilters(topic.filters).map(spellFilter);
  return [
    name,
    ops.length < OPS.length ? `:${ops.join(',')}` : '',
    filters.length > 0 ? `?${filters.join('&')}` : '',
  ].join('');
}

function parseChannel(text: string): ChannelTopic {
  if (text.includes('?')) throw badTopic('a channel takes no filters; write a ? in its name as %3F');
  return channelTopic(decode(text, 'the channel'));
}

function parseTable(text: string, limits: TopicLimits): TableTopic {
  const [head, filters] = cut(text, '?');
  const [path, ops] = cut(head, ':');
  const [first, second] = cut(path, '.');
  return {
    kind: 'table',
    schema: second === undefined ? 'public' : parseName(first, 'the schema'),
    table: parseName(second ?? first, 'the table'),
    ops: ops === undefined ? OPS : parseOps(ops),
    filters: filters === undefined ? [] : parseFilters(filters, limits.maxFilters),
  };
}

function parseOps(text: string): readonly Op[] {
  return normalOps(
    text.split(',').map((word) => {
      const op = OPS.find((known) => known === word);
      if (op === undefined)
        throw badTopic(`${shown(word)} is no operation; after ":" write ${OPS.join(', ')}`);
      return op;
    }),
  );
}

function normalOps(ops: readonly Op[]): readonly Op[] {
  return ops.length === 0 ? OPS : OPS.filter((op) => ops.includes(op));
}

function checkLength(text: string, { maxLength }: TopicLimits): void {
  if (text.length <= maxLength) return;
  throw badTopic(`the topic has ${text.length} characters, reserved ones encoded; the limit is ${maxLength}`);
}
