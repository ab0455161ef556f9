/**
 * The router: turns the pages of commits into frames, each made and published once per topic.
 *
 * It owns which topics there are, by table, and what of the present commit still waits. It
 * promises that of one transaction all frames of a topic but the last say `more`; that a frame's
 * cursor counts everything of its topic up to that frame and nothing after it; and that the cost
 * of a change depends on the topics that it concerns, never on how many subscribe to them, nor on
 * how many others have equality filters.
 */
import type { Page, TableChange } from './commit.ts';
import { type Matcher, matchChange } from './matching.ts';
import type { Observe } from './observation.ts';
import { encodeChange } from './protocol.ts';
import { withEffect } from './router/effect.ts';
import { type Routed, TableIndex } from './router/table-index.ts';
import { canonicalTopic, OPS, type TableTopic, type Topic } from './topic.ts';

/** What a topic stands for. Without a matcher it takes every change of its ops. */
export interface Target {
  /** The table's oid: changes are found by it, whatever the table is called. */
  readonly relation: number;
  readonly parsed: TableTopic;
  readonly matcher: Matcher | undefined;
}

export type { Matcher } from './matching.ts';

/**
 * The wire text that a change has in one topic; undefined where it does not concern it. Throws `bad_topic` where the
 * topic's filters cannot judge it.
 */
export type Select = (change: TableChange) => string | undefined;

export interface Router {
  /** Frames of the topic are published from now on. */
  add(topic: Topic, target: Target): void;
  /** Nothing more is published of it, not even what waits. */
  remove(topic: Topic): void;
  /** Publishes what the page has for the topics. Gives how many bytes that was, each topic counted once. */
  route(page: Page): number;
  /**
   * The cursor of whoever joins the topic in this turn: what is published of it from now on is
   * exactly what came after. Within a commit it may lie before the feed's, since frames wait.
   */
  cursorOf(topic: Topic): string;
  /** What a topic that is routed takes of changes, for those who catch up with it. */
  select(topic: Topic): Select;
  /** The feed broke off and went on elsewhere: what waits is dropped. */
  abandon(): void;
  /** Whether changes came that the topic's filters cannot judge: its columns are not what they were. */
  isStale(topic: Topic): boolean;
  /** False within a commit: then the feed's cursor counts changes that no one has been sent yet. */
  readonly settled: boolean;
}

export interface RouterOptions {
  publish(topic: Topic, frame: string): void;
  /** The feed's cursor. */
  cursor(): string;
  /**
   * A topic has become stale, or its table has another name: whoever holds it must be told. Called once a page, after
   * its frames.
   */
  onStale?(): void;
  observe: Observe;
}

/** Changes of an earlier page, kept back until it is known whether they are the last of their commit. */
interface Held {
  readonly changes: readonly string[];
  readonly cursor: string;
  /** The cursor of whoever has got all of the topic but these. */
  readonly before: string;
}

interface Route extends Routed {
  readonly topic: Topic;
  readonly relation: number;
  /** What the topic calls the table. */
  readonly table: string;
  /** It was told of: the table has another name by now. */
  renamed: boolean;
  /** Of the page being routed. */
  fresh: string[];
  held: Held | undefined;
}

/** Creates a router without topics. */
export function createRouter({ publish, cursor, onStale, observe }: RouterOptions): Router {
  const routes = new Map<Topic, Route>();
  const byRelation = new Map<number, TableIndex<Route>>();
  const stale = new Set<Topic>();
  const waiting = new Set<Route>();
  let settled = true;
  let lookAgain = false;
  // The cursor before the page to come; where none has come yet, the one that the first topic began at.
  let previous: string | undefined;
  let frames = 0;
  let bytes = 0;

  function emit(route: Route, page: Page, changes: readonly string[], cursor: string, more: boolean): void {
    const frame = encodeChange({ topic: route.topic, cursor, at: page.at, changes, more });
    frames++;
    bytes += Buffer.byteLength(frame);
    publish(route.topic, frame);
  }

  /** The topics that the page has something for, each with its fresh changes. */
  function distribute(page: Page): Route[] {
    const touched: Route[] = [];
    let called = '';
    const findings = {
      take(route: Route, wire: string) {
        if (route.fresh.length === 0) touched.push(route);
        route.fresh.push(wire);
        if (route.table === called || route.renamed) return;
        route.renamed = true;
        lookAgain = true;
      },
      stale({ topic }: Route) {
        lookAgain ||= !stale.has(topic);
        stale.add(topic);
      },
    };
    for (const change of page.changes) {
      called = change.table;
      byRelation.get(change.relation)?.find(change, findings);
    }
    return touched;
  }

  function release(page: Page): void {
    for (const route of waiting) {
      const { held, fresh } = route;
      if (held === undefined) continue;
      if (fresh.length > 0) emit(route, page, held.changes, held.cursor, true);
      else if (page.last) emit(route, page, held.changes, page.cursor, false);
      else continue;
      route.held = undefined;
      waiting.delete(route);
    }
  }

  function forget(): void {
    for (const route of waiting) route.held = undefined;
    waiting.clear();
  }

  return {
    get settled() {
      return settled;
    },
    add(topic, { relation, parsed, matcher }) {
      const { schema, table, ops } = parsed;
      if (routes.has(topic)) throw new Error(`the topic ${topic} is routed already`);
      previous ??= cursor();
      const key = canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] });
      const name = { topic, relation, table: key, renamed: false };
      const route: Route = { ...name, ops, matcher, fresh: [], held: undefined };
      routes.set(topic, route);
      let index = byRelation.get(relation);
      if (index === undefined) {
        index = new TableIndex();
        byRelation.set(relation, index);
      }
      index.add(route);
    },
    remove(topic) {
      const route = routes.get(topic);
      if (route === undefined) return;
      routes.delete(topic);
      waiting.delete(route);
      stale.delete(topic);
      const index = byRelation.get(route.relation);
      index?.remove(route);
      if (index?.size === 0) byRelation.delete(route.relation);
    },
    route(page) {
      frames = 0;
      bytes = 0;
      if (page.first) forget();
      const touched = distribute(page);
      const before = previous ?? page.cursor;
      release(page);
      for (const route of touched) {
        const changes = route.fresh;
        route.fresh = [];
        if (page.last) {
          emit(route, page, changes, page.cursor, false);
        } else {
          route.held = { changes, cursor: page.cursor, before };
          waiting.add(route);
        }
      }
      previous = page.cursor;
      settled = page.last;
      if (frames > 0) observe({ type: 'frame.published', frames, bytes });
      if (lookAgain) onStale?.();
      lookAgain = false;
      return bytes;
    },
    cursorOf: (topic) => routes.get(topic)?.held?.before ?? cursor(),
    select(topic) {
      const route = routes.get(topic);
      return (change) => {
        if (route === undefined || route.relation !== change.relation || !route.ops.includes(change.op))
          return undefined;
        return wireFor(route, change);
      };
    },
    isStale: (topic) => stale.has(topic),
    abandon() {
      forget();
      settled = true;
      previous = cursor();
    },
  };
}

function wireFor({ matcher }: Route, change: TableChange): string | undefined {
  if (matcher === undefined || change.op === 'truncate') return change.wire;
  const effect = matchChange(matcher, change);
  return effect === null ? undefined : withEffect(change.wire, effect);
}
