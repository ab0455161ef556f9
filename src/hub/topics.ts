/**
 * The topics that are subscribed to: what a client's words name, and how many hold each.
 *
 * It promises that a topic is routed exactly while someone holds it, and that no answer tells a
 * table that a client may not read from one that is not there.
 */
import type { Identity } from '../identity.ts';
import type { Observe } from '../observation.ts';
import { ProtocolError } from '../protocol.ts';
import type { Router } from '../router.ts';
import {
  type ChannelTopic,
  canonicalTopic,
  type InboxTopic,
  inboxOf,
  parseTopic,
  type TableTopic,
  type Topic,
  withFilters,
} from '../topic.ts';
import { type Access, checkPresence, scopeOf, spellAccess } from './access.ts';
import type { Attendant, Presence } from './presence.ts';
import {
  changed,
  type HeldTopic,
  isSame,
  keyOf,
  noSuchTable,
  type Resolved,
  type ResolvedMessages,
  type ResolvedTable,
} from './resolved.ts';

/** What is asked of a watched table here. */
export interface ReadableTable extends Access {
  /** Its oid. */
  readonly relation: number;
  readonly table: string;
}

/** The watched tables. `find` gives undefined for one that is not watched, and rejects when it cannot tell. */
export interface Tables<T extends ReadableTable = ReadableTable> {
  find(schema: string, name: string): Promise<T | undefined>;
}

/** Turns a topic's filters into their canonical form and a matcher. Throws `bad_topic` where they cannot be. */
export type ResolveFilters<T extends ReadableTable> = (
  topic: TableTopic,
  table: T,
) => Promise<Pick<ResolvedTable, 'parsed' | 'matcher'>>;

/** Which channels are open to someone, and where he is seen and sees who else is there. */
export interface Doors {
  mayJoin(channel: string, identity: Identity | null): boolean;
  isPresent(channel: string, identity: Identity | null): boolean;
}

export interface Topics {
  /** What a client's topic names. Throws `ProtocolError`: `bad_topic`, `forbidden`, `unauthorized`, `unavailable`. */
  resolve(text: string, identity: Identity | null): Promise<Resolved>;
  /** Holds it once more, in this very turn. */
  hold(resolved: Resolved, holder: Attendant): HeldTopic;
  release(topic: HeldTopic, holder: Attendant): void;
  /** The cursor of whoever joins in this turn. */
  cursorOf(topic: HeldTopic): string;
  /**
   * Looks at every held topic anew; gives those that are no more, each with what to say of it, and those that may not
   * be for all who hold them any longer. `complete` is false where some could not be looked at.
   */
  revalidate(): Promise<Revalidated>;
  /** Distinct topics. */
  readonly size: number;
  /** How often they are held, all together. */
  readonly held: number;
}

export interface Revalidated {
  readonly ended: readonly { topic: HeldTopic; error: ProtocolError }[];
  /** With the access that whoever holds it must have now. */
  readonly narrowed: readonly { topic: HeldTopic & ResolvedTable; access: string }[];
  readonly complete: boolean;
}

export interface TopicsOptions<T extends ReadableTable> {
  router: Router;
  tables: Tables<T>;
  filters: ResolveFilters<T> | undefined;
  doors: Doors;
  /** Is told who holds a channel. */
  presence: Pick<Presence, 'enter' | 'leave'> | undefined;
  observe: Observe;
}

/** Creates the register, with no topic held. */
export function createTopics<T extends ReadableTable>(options: TopicsOptions<T>): Topics {
  const { router, tables, filters, doors, presence, observe } = options;
  const topics = new Map<Topic, HeldTopic>();
  let held = 0;
  /** How often the tables may have changed: whoever looked before that looks again. */
  let generation = 0;

  /** Without a caller, whoever may read the table. */
  async function resolveTable(
    parsed: TableTopic,
    caller: { identity: Identity | null } | null,
  ): Promise<ResolvedTable> {
    for (;;) {
      const begun = generation;
      const table = await find(parsed);
      if (table === undefined) throw noSuchTable(parsed);
      const scoped = caller === null ? parsed : await withScope(parsed, table, caller.identity);
      const resolved = await withMatcher(scoped, table);
      if (begun === generation) return { kind: 'table', ...resolved, access: spellAccess(table) };
    }
  }

  async function withScope(parsed: TableTopic, table: T, identity: Identity | null): Promise<TableTopic> {
    if (table.access === 'channel') {
      checkPresence(parsed, (channel) => doors.isPresent(channel, identity));
      return parsed;
    }
    const scope = scopeOf(table, identity);
    if (scope === null) throw noSuchTable(parsed);
    if (scope.length === 0) return parsed;
    try {
      const forced = await withMatcher({ ...parsed, filters: scope }, table);
      return withFilters(parsed, [...parsed.filters, ...forced.parsed.filters]);
    } catch (error) {
      // No row has what the token claims; and what was wrong would tell of a table that is not for him.
      if (error instanceof ProtocolError && error.code === 'bad_topic') throw noSuchTable(parsed);
      throw error;
    }
  }

  async function find({ schema, table }: TableTopic): Promise<T | undefined> {
    try {
      return await tables.find(schema, table);
    } catch (cause) {
      if (cause instanceof ProtocolError) throw cause;
      throw new ProtocolError('unavailable', 'tables cannot be looked up now; try again after a while', {
        cause,
      });
    }
  }

  async function withMatcher(parsed: TableTopic, table: T): Promise<Omit<ResolvedTable, 'kind' | 'access'>> {
    const { relation } = table;
    if (parsed.filters.length === 0) return { relation, parsed, matcher: undefined };
    if (filters === undefined) {
      throw new ProtocolError('unavailable', 'this service takes no filters; leave out what follows the "?"');
    }
    return { relation, ...(await filters(parsed, table)) };
  }

  function resolveMessages(parsed: ChannelTopic | InboxTopic, identity: Identity | null): ResolvedMessages {
    if (parsed.kind === 'inbox') {
      if (identity === null)
        throw new ProtocolError('unauthorized', 'private messages are for users; connect with a token');
      return { kind: 'messages', parsed, key: inboxOf(identity.user) };
    }
    const key = canonicalTopic(parsed);
    if (!doors.mayJoin(parsed.name, identity))
      throw new ProtocolError('forbidden', `${key} is no channel for this client`);
    return { kind: 'messages', parsed, key };
  }

  return {
    get size() {
      return topics.size;
    },
    get held() {
      return held;
    },
    async resolve(text, identity) {
      const parsed = parseTopic(text);
      if (parsed.kind === 'table') return resolveTable(parsed, { identity });
      return resolveMessages(parsed, identity);
    },
    hold(resolved, holder) {
      const name = canonicalTopic(resolved.parsed);
      const key = keyOf(resolved);
      let topic = topics.get(key);
      if (topic === undefined) {
        topic = { ...resolved, name, key, holders: 0 };
        topics.set(key, topic);
        if (resolved.kind === 'table') router.add(key, resolved);
        else router.addMessages(key, name);
      }
      topic.holders++;
      held++;
      if (resolved.parsed.kind === 'channel') presence?.enter(holder, resolved.parsed.name);
      observe({ type: 'subscription.added', topic: name });
      return topic;
    },
    release(topic, holder) {
      topic.holders--;
      held--;
      if (topic.holders === 0) {
        topics.delete(topic.key);
        router.remove(topic.key);
      }
      if (topic.parsed.kind === 'channel') presence?.leave(holder, topic.parsed.name);
      observe({ type: 'subscription.removed', topic: topic.name });
    },
    cursorOf: (topic) => router.cursorOf(topic.key),
    async revalidate() {
      generation++;
      const ended: { topic: HeldTopic; error: ProtocolError }[] = [];
      const narrowed: { topic: HeldTopic & ResolvedTable; access: string }[] = [];
      let complete = true;
      for (const topic of [...topics.values()]) {
        if (topic.kind !== 'table') continue;
        try {
          const now = await resolveTable(topic.parsed, null);
          if (!isSame(now, topic)) ended.push({ topic, error: changed(topic) });
          else if (now.access !== topic.access) narrowed.push({ topic, access: now.access });
        } catch (error) {
          // Whoever holds it keeps it until it is known to be gone.
          if (!(error instanceof ProtocolError)) throw error;
          if (error.code === 'unavailable') complete = false;
          else ended.push({ topic, error });
        }
      }
      return { ended, narrowed, complete };
    },
  };
}
