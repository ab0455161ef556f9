/** What a client's topic comes to, once it is known what it names. */
import { ProtocolError } from '../protocol.ts';
import type { Matcher } from '../router.ts';
import {
  type ChannelTopic,
  canonicalTopic,
  type InboxTopic,
  OPS,
  type TableTopic,
  type Topic,
} from '../topic.ts';

/** Changes of a table, as they can be held: `matcher` is there where the topic has filters. */
export interface ResolvedTable {
  readonly kind: 'table';
  /** The table that it names, by its oid. */
  readonly relation: number;
  readonly parsed: TableTopic;
  readonly matcher: Matcher | undefined;
  /** Who might read the table then. */
  access: string;
}

/** Messages of a channel, or to a user. */
export interface ResolvedMessages {
  readonly kind: 'messages';
  readonly parsed: ChannelTopic | InboxTopic;
  readonly key: Topic;
}

export type Resolved = ResolvedTable | ResolvedMessages;

/** One topic that is held; all who hold it share this. */
export type HeldTopic = Resolved & {
  /** What frames call it. */
  readonly name: Topic;
  /** What it is told apart by: a name may be of many, as `@me` is. */
  readonly key: Topic;
  holders: number;
};

/** What a topic is told apart by. */
export function keyOf(resolved: Resolved): Topic {
  return resolved.kind === 'table' ? canonicalTopic(resolved.parsed) : resolved.key;
}

export function noSuchTable({ schema, table }: TableTopic): ProtocolError {
  const name = canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] });
  return new ProtocolError(
    'bad_topic',
    `there is no table ${name} here: it does not exist, is not watched, or is not for this client`,
  );
}

/** Whether a topic still means what it meant: the same table, with columns of the same types where it has filters. */
export function isSame(
  { relation, parsed, matcher }: ResolvedTable,
  held: HeldTopic & ResolvedTable,
): boolean {
  return (
    relation === held.relation &&
    canonicalTopic(parsed) === held.name &&
    matcher?.types === held.matcher?.types
  );
}

export function changed({ name }: HeldTopic): ProtocolError {
  return new ProtocolError('bad_topic', `${name} means something else now; subscribe again`);
}
