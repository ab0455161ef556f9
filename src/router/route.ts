/** A topic of a table, as the router knows it. */
import type { TableChange } from '../commit.ts';
import { type Matcher, matchChange } from '../matching.ts';
import { changeHead } from '../protocol.ts';
import { canonicalTopic, OPS, type TableTopic, type Topic } from '../topic.ts';
import { withEffect } from './effect.ts';
import type { Routed } from './table-index.ts';

/** What a topic stands for: changes of a table. Without a matcher it takes every change of its ops. */
export interface Target {
  /** The table's oid: changes are found by it, whatever the table is called. */
  readonly relation: number;
  readonly parsed: TableTopic;
  readonly matcher: Matcher | undefined;
}

/** Changes of an earlier page, kept back until it is known whether they are the last of their commit. */
export interface Held {
  readonly changes: readonly string[];
  readonly cursor: string;
  /** The cursor of whoever has got all of the topic but these. */
  readonly before: string;
}

/** Changes of a topic in the commit under way. */
export interface Route extends Routed {
  readonly topic: Topic;
  /** What its frames begin with. */
  readonly head: string;
  readonly relation: number;
  /** What the topic calls the table. */
  readonly table: string;
  /** It was told of: the table has another name by now. */
  renamed: boolean;
  /** Of the page being routed. */
  fresh: string[];
  held: Held | undefined;
  /** Its last frame said that more would come. */
  open: boolean;
}

export function routeOf(topic: Topic, { relation, parsed, matcher }: Target): Route {
  const { schema, table, ops } = parsed;
  const key = canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] });
  const name = { topic, head: changeHead(topic), relation, table: key, renamed: false };
  return { ...name, ops, matcher, fresh: [], held: undefined, open: false };
}

/** The wire text that a change of its table has in the topic. */
export function wireFor({ matcher }: Route, change: TableChange): string | undefined {
  if (matcher === undefined || change.op === 'truncate') return change.wire;
  const effect = matchChange(matcher, change);
  return effect === null ? undefined : withEffect(change.wire, effect);
}
