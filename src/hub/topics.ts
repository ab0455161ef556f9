/**
 * The topics that are subscribed to: what a client's words name, and how many hold each.
 *
 * It promises that a topic is routed exactly while someone holds it, and that no answer tells a
 * table that a client may not read from one that is not there.
 */
import type { Observe } from '../observation.ts';
import { ProtocolError } from '../protocol.ts';
import type { Matcher, Router } from '../router.ts';
import { canonicalTopic, OPS, parseTopic, type TableTopic, type Topic } from '../topic.ts';

/** What is asked of a watched table here. */
export interface ReadableTable {
  /** Its oid. */
  readonly relation: number;
  readonly table: string;
  readonly access: 'public' | 'authenticated' | 'scoped';
}

/** The watched tables. `find` gives undefined for one that is not watched, and rejects when it cannot tell. */
export interface Tables<T extends ReadableTable = ReadableTable> {
  find(schema: string, name: string): Promise<T | undefined>;
}

/** A topic as it can be held: `matcher` is there where it has filters. */
export interface Resolved {
  /** The table that it names, by its oid. */
  readonly relation: number;
  readonly parsed: TableTopic;
  readonly matcher: Matcher | undefined;
}

/** Turns a topic's filters into their canonical form and a matcher. Throws `bad_topic` where they cannot be. */
export type ResolveFilters<T extends ReadableTable> = (
  topic: TableTopic,
  table: T,
) => Promise<Pick<Resolved, 'parsed' | 'matcher'>>;

/** One topic that is held; all who hold it share this. */
export interface HeldTopic extends Resolved {
  readonly name: Topic;
  holders: number;
}

export interface Topics {
  /** What a client's topic names. Throws `ProtocolError`: `bad_topic`, `forbidden`, `unavailable`. */
  resolve(text: string): Promise<Resolved>;
  /** Holds it once more, in this very turn. */
  hold(resolved: Resolved): HeldTopic;
  release(topic: HeldTopic): void;
  /** The cursor of whoever joins in this turn. */
  cursorOf(topic: HeldTopic): string;
  /**
   * Looks at every held topic anew; gives those that are no more, each with what to say of it.
   * `complete` is false where some could not be looked at.
   */
  revalidate(): Promise<{ ended: { topic: HeldTopic; error: ProtocolError }[]; complete: boolean }>;
  /** Distinct topics. */
  readonly size: number;
  /** How often they are held, all together. */
  readonly held: number;
}

export interface TopicsOptions<T extends ReadableTable> {
  router: Router;
  tables: Tables<T>;
  filters: ResolveFilters<T> | undefined;
  observe: Observe;
}

/** Creates the register, with no topic held. */
export function createTopics<T extends ReadableTable>(options: TopicsOptions<T>): Topics {
  const { router, tables, filters, observe } = options;
  const topics = new Map<Topic, HeldTopic>();
  let held = 0;
  /** How often the tables may have changed: whoever looked before that looks again. */
  let generation = 0;

  async function resolveTable(parsed: TableTopic): Promise<Resolved> {
    for (;;) {
      const begun = generation;
      const table = await find(parsed);
      if (table === undefined || table.access !== 'public') throw noSuchTable(parsed);
      const resolved = await withMatcher(parsed, table);
      if (begun === generation) return resolved;
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

  async function withMatcher(parsed: TableTopic, table: T): Promise<Resolved> {
    const { relation } = table;
    if (parsed.filters.length === 0) return { relation, parsed, matcher: undefined };
    if (filters === undefined) {
      throw new ProtocolError('unavailable', 'this service takes no filters; leave out what follows the "?"');
    }
    return { relation, ...(await filters(parsed, table)) };
  }

  return {
    get size() {
      return topics.size;
    },
    get held() {
      return held;
    },
    async resolve(text) {
      const parsed = parseTopic(text);
      if (parsed.kind === 'table') return resolveTable(parsed);
      const what = parsed.kind === 'inbox' ? 'private messages' : 'channels';
      throw new ProtocolError('forbidden', `this service has no ${what}; subscribe to tables`);
    },
    hold(resolved) {
      const { relation, parsed, matcher } = resolved;
      const name = canonicalTopic(parsed);
      let topic = topics.get(name);
      if (topic === undefined) {
        topic = { ...resolved, name, holders: 0 };
        topics.set(name, topic);
        router.add(name, { relation, parsed, matcher });
      }
      topic.holders++;
      held++;
      observe({ type: 'subscription.added', topic: name });
      return topic;
    },
    release(topic) {
      topic.holders--;
      held--;
      if (topic.holders === 0) {
        topics.delete(topic.name);
        router.remove(topic.name);
      }
      observe({ type: 'subscription.removed', topic: topic.name });
    },
    cursorOf: (topic) => router.cursorOf(topic.name),
    async revalidate() {
      generation++;
      const ended: { topic: HeldTopic; error: ProtocolError }[] = [];
      let complete = true;
      for (const topic of [...topics.values()]) {
        try {
          const now = await resolveTable(topic.parsed);
          if (!isSame(now, topic)) ended.push({ topic, error: changed(topic) });
        } catch (error) {
          // Whoever holds it keeps it until it is known to be gone.
          if (!(error instanceof ProtocolError)) throw error;
          if (error.code === 'unavailable') complete = false;
          else ended.push({ topic, error });
        }
      }
      return { ended, complete };
    },
  };
}

function noSuchTable({ schema, table }: TableTopic): ProtocolError {
  const name = canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] });
  return new ProtocolError(
    'bad_topic',
    `there is no table ${name} here: it does not exist, is not watched, or is not for this client`,
  );
}

/** Whether a topic still means what it meant: the same table, with columns of the same types where it has filters. */
function isSame({ relation, parsed, matcher }: Resolved, held: HeldTopic): boolean {
  return (
    relation === held.relation &&
    canonicalTopic(parsed) === held.name &&
    matcher?.types === held.matcher?.types
  );
}

function changed({ name }: HeldTopic): ProtocolError {
  return new ProtocolError('bad_topic', `${name} means something else now; subscribe again`);
}
