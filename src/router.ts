/**
 * The router: turns the pages of commits into frames, each made and published once per topic.
 *
 * It owns which topics there are, by table, and what of the present commit still waits. It
 * promises that of one transaction all frames of a topic but the last say `more`; that a frame's
 * cursor counts everything of its topic up to that frame and nothing after it; and that the cost
 * of a change depends on the topics that it concerns, never on how many subscribe to them, nor on
 * how many others have equality filters.
 */
import type { Line, Message, Page } from './commit.ts';
import type { Observe } from './observation.ts';
import { encodeChange, encodeMessage } from './protocol.ts';
import { createPublished } from './router/published.ts';
import { type Route, routeOf, type Target, wireFor } from './router/route.ts';
import { TableIndex } from './router/table-index.ts';
import type { Topic } from './topic.ts';

export type { Matcher } from './matching.ts';
export type { Target } from './router/route.ts';

/**
 * The wire text that a change or a message has in one topic; undefined where it does not concern it. Throws `bad_topic`
 * where the topic's filters cannot judge it.
 */
export type Select = (line: Line) => string | undefined;

export interface Router {
  /** Frames of the topic are published from now on. */
  add(topic: Topic, target: Target): void;
  /** The same of messages; their frames call it `name`. */
  addMessages(topic: Topic, name: Topic): void;
  /** Nothing more is published of it, not even what waits. */
  remove(topic: Topic): void;
  /** Publishes what the page has for the topics. */
  route(page: Page): void;
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
  /** How many bytes were published so far, each topic counted once. */
  readonly bytes: number;
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
  /** Does what the frames need not wait for. */
  afterwards?: (work: () => void) => void;
}

/** Creates a router without topics. */
export function createRouter(options: RouterOptions): Router {
  const { publish, cursor, onStale, observe, afterwards = (work) => work() } = options;
  const routes = new Map<Topic, Route>();
  /** Topics of messages, and what their frames call them. */
  const names = new Map<Topic, Topic>();
  const byRelation = new Map<number, TableIndex<Route>>();
  const stale = new Set<Topic>();
  const waiting = new Set<Route>();
  let settled = true;
  let lookAgain = false;
  // The cursor before the page to come; where none has come yet, the one that the first topic began at.
  let previous: string | undefined;
  const published = createPublished({ observe, afterwards });
  /** The topics that the page under way has something for, and what its change under way calls the table. */
  let touched: Route[] = [];
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

  function emit(route: Route, page: Page, changes: readonly string[], cursor: string, more: boolean): void {
    route.open = more;
    put(route.topic, encodeChange({ head: route.head, cursor, at: page.at, changes, more }));
  }

  function put(topic: Topic, frame: string): void {
    publish(topic, frame);
    published.add(frame);
  }

  /** Changes that came before a message are sent before it, even where it is not known whether more follow. */
  function emitMessage({ topic, wire }: Message, page: Page): void {
    const name = names.get(topic);
    if (name === undefined) return;
    for (const route of waiting) {
      if (route.held !== undefined) emit(route, page, route.held.changes, route.held.cursor, true);
      route.held = undefined;
    }
    put(topic, encodeMessage({ topic: name, cursor: page.cursor, at: page.at, wire }));
  }

  /** Gives the topics that the page has something for, each with its fresh changes. */
  function distribute(page: Page): Route[] {
    touched = [];
    for (const change of page.changes) {
      called = change.table;
      byRelation.get(change.relation)?.find(change, findings);
    }
    return touched;
  }

  function release(page: Page): void {
    if (waiting.size === 0) return;
    for (const route of waiting) {
      const { held, fresh, open } = route;
      if (fresh.length > 0) {
        if (held !== undefined) emit(route, page, held.changes, held.cursor, true);
      } else if (page.changesFollow) {
        continue;
      } else if (held !== undefined || open) {
        // What was said to be more may be nothing.
        emit(route, page, held?.changes ?? [], page.cursor, false);
      }
      route.held = undefined;
      waiting.delete(route);
    }
  }

  function forget(): void {
    if (waiting.size === 0) return;
    for (const route of waiting) {
      route.held = undefined;
      route.open = false;
    }
    waiting.clear();
  }

  return {
    get settled() {
      return settled;
    },
    get bytes() {
      return published.bytes;
    },
    add(topic, target) {
      if (routes.has(topic)) throw new Error(`the topic ${topic} is routed already`);
      previous ??= cursor();
      const route = routeOf(topic, target);
      routes.set(topic, route);
      let index = byRelation.get(target.relation);
      if (index === undefined) {
        index = new TableIndex();
        byRelation.set(target.relation, index);
      }
      index.add(route);
    },
    addMessages(topic, name) {
      if (names.has(topic)) throw new Error(`the topic ${topic} is routed already`);
      previous ??= cursor();
      names.set(topic, name);
    },
    remove(topic) {
      names.delete(topic);
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
      if (page.first) forget();
      const concerned = distribute(page);
      const before = previous ?? page.cursor;
      release(page);
      for (const route of concerned) {
        const changes = route.fresh;
        route.fresh = [];
        if (page.changesFollow) {
          route.held = { changes, cursor: page.cursor, before };
          waiting.add(route);
        } else {
          emit(route, page, changes, page.cursor, false);
        }
      }
      if (page.message !== null) emitMessage(page.message, page);
      previous = page.cursor;
      settled = page.last;
      published.tell();
      if (lookAgain) onStale?.();
      lookAgain = false;
    },
    cursorOf: (topic) => routes.get(topic)?.held?.before ?? cursor(),
    select(topic) {
      const route = routes.get(topic);
      return (line) => {
        if (line.op === 'message') return line.topic === topic ? line.wire : undefined;
        if (route === undefined || route.relation !== line.relation || !route.ops.includes(line.op))
          return undefined;
        return wireFor(route, line);
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
