/** The index of topics by value: it must find what trying every filter finds, cost the same however many there are, and keep nothing. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { TableChange } from '../src/commit.ts';
import { type ColumnType, compileMatcher, matchChange } from '../src/matching.ts';
import { MOST_KEYS, planOf } from '../src/router/group.ts';
import { TableIndex } from '../src/router/table-index.ts';
import { createRouter } from '../src/router.ts';
import { canonicalTopic, type Filter, OPS, parseTopic, type TableTopic, type Topic } from '../src/topic.ts';

const INT: ColumnType = {
  type: 'integer',
  cast: 'pg_catalog.int4',
  family: 'number',
  labels: [],
  foldsAscii: false,
};
const columns = new Map(['a', 'b', 'c'].map((name) => [name, INT]));

/** The oid of the table. */
const M = 16_384;

interface Route {
  readonly topic: Topic;
  readonly ops: TableTopic['ops'];
  readonly matcher: ReturnType<typeof compileMatcher> | undefined;
}

function routeOf(text: string): Route {
  const parsed = parseTopic(text);
  if (parsed.kind !== 'table') throw new Error(`${text} is no table`);
  const matcher = parsed.filters.length > 0 ? compileMatcher(parsed.filters, columns) : undefined;
  return { topic: canonicalTopic(parsed), ops: parsed.ops, matcher };
}

/** A change of the row `{"id":1, …}`; the members of before that differ are its `old`. */
function changeOf(before: object | null, after: object | null): TableChange {
  const op = before === null ? 'insert' : after === null ? 'delete' : 'update';
  const parts = [`"op":"${op}"`, `"table":"public.m"`, `"key":{"id": 1}`];
  if (after !== null) parts.push(`"new":${JSON.stringify(after)}`);
  if (before !== null) parts.push(`"old":${JSON.stringify(before)}`);
  return { relation: M, table: 'public.m', op, wire: `{${parts.join(',')}}` };
}

/** What the change is to whom: the topic and the last word of its text. */
function found(index: TableIndex<Route>, change: TableChange): string[] {
  const told: string[] = [];
  index.find(change, {
    take: ({ topic }, wire) => told.push(`${topic} ${/"effect":"(\w+)"\}$/.exec(wire)?.[1] ?? 'plain'}`),
    stale: ({ topic }) => told.push(`${topic} stale`),
  });
  return told.sort();
}

function indexOf(...texts: string[]): TableIndex<Route> {
  const index = new TableIndex<Route>();
  for (const text of texts) index.add(routeOf(text));
  return index;
}

const digit = fc.integer({ min: 0, max: 3 });
const cell = fc.option(digit, { freq: 6 });
const row = fc.record({ a: cell, b: cell, c: cell });
const someFilter: fc.Arbitrary<Filter> = fc.constantFrom('a', 'b', 'c').chain((column) =>
  fc.oneof(
    fc.record({
      column: fc.constant(column),
      operator: fc.constantFrom('eq' as const, 'neq' as const, 'gt' as const, 'eq' as const),
      value: digit.map(String),
    }),
    fc.record({
      column: fc.constant(column),
      operator: fc.constant('in' as const),
      value: fc.array(digit.map(String), { maxLength: 3 }),
    }),
    fc.record({
      column: fc.constant(column),
      operator: fc.constant('is' as const),
      value: fc.constant('null' as const),
    }),
  ),
);
const someTopic = fc
  .record({ filters: fc.array(someFilter, { maxLength: 4 }), ops: fc.subarray([...OPS], { minLength: 1 }) })
  .map(({ filters, ops }) => canonicalTopic({ kind: 'table', schema: 'public', table: 'm', ops, filters }));

describe('the index', () => {
  it('finds what trying each filter finds', () => {
    const changes = fc.array(fc.tuple(fc.option(row), fc.option(row)), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(fc.uniqueArray(someTopic, { maxLength: 20 }), changes, (topics, pairs) => {
        const index = indexOf(...topics);
        for (const [before, after] of pairs) {
          if (before === null && after === null) continue;
          const change = changeOf(before, after);
          const tried = topics.map(routeOf).flatMap(({ topic, ops, matcher }) => {
            if (!ops.includes(change.op)) return [];
            if (matcher === undefined) return [`${topic} plain`];
            const effect = matchChange(matcher, change);
            return effect === null ? [] : [`${topic} ${effect}`];
          });
          expect(found(index, change)).toEqual(tried.sort());
        }
      }),
    );
  });

  it('says enter, stay and leave', () => {
    const index = indexOf('m?a=eq.1', 'm?a=in.(1,2)', 'm?a=eq.2&b=gt.5', 'm?b=gt.5');
    const now = (before: object | null, after: object | null) => found(index, changeOf(before, after));
    expect(now(null, { a: 1, b: 0 })).toEqual(['public.m?a=eq.1 enter', 'public.m?a=in.(1,2) enter']);
    expect(now({ a: 1 }, { a: 2, b: 6 })).toEqual([
      'public.m?a=eq.1 leave',
      'public.m?a=eq.2&b=gt.5 enter',
      'public.m?a=in.(1,2) stay',
      'public.m?b=gt.5 stay',
    ]);
    expect(now({ b: 6 }, { a: 2, b: 5 })).toEqual([
      'public.m?a=eq.2&b=gt.5 leave',
      'public.m?a=in.(1,2) stay',
      'public.m?b=gt.5 leave',
    ]);
    expect(now({ a: 2, b: 9 }, null)).toEqual([
      'public.m?a=eq.2&b=gt.5 leave',
      'public.m?a=in.(1,2) leave',
      'public.m?b=gt.5 leave',
    ]);
    expect(now({ a: null }, { a: 7, b: null })).toEqual([]);
  });

  it('passes truncate to all that take it, whatever they filter', () => {
    const index = indexOf('m', 'm?a=eq.1', 'm?a=in.()', 'm?b=gt.5', 'm:insert?a=eq.1');
    const truncate: TableChange = {
      relation: M,
      table: 'public.m',
      op: 'truncate',
      wire: '{"op":"truncate","table":"public.m"}',
    };
    expect(found(index, truncate)).toEqual(
      ['m', 'm?a=eq.1', 'm?a=in.()', 'm?b=gt.5'].map((topic) => `public.${topic} plain`),
    );
  });

  it('compares numbers of a row as numbers', () => {
    const index = indexOf('m?a=eq.7', 'm?a=eq.9007199254740993');
    const change = (value: string): TableChange => ({
      relation: M,
      table: 'public.m',
      op: 'insert',
      wire: `{"op":"insert","table":"public.m","key":{"id": 1},"new":{"id": 1, "a": ${value}}}`,
    });
    expect(found(index, change('7.00'))).toEqual(['public.m?a=eq.7 enter']);
    expect(found(index, change('9007199254740992'))).toEqual([]);
    expect(found(index, change('9007199254740993'))).toEqual(['public.m?a=eq.9007199254740993 enter']);
  });

  it('says whose columns are not what they were', () => {
    const index = indexOf('m', 'm?a=eq.1', 'm?b=gt.1', 'm?c=is.null');
    expect(found(index, changeOf(null, { b: 2, c: 3 }))).toEqual([
      'public.m plain',
      'public.m?a=eq.1 stale',
      'public.m?a=eq.1 stale',
      'public.m?b=gt.1 enter',
    ]);
    expect(found(index, changeOf(null, { a: 'one', b: 2, c: 3 }))).toContain('public.m?a=eq.1 stale');
  });

  it('takes one column alone where lists combine to too many', () => {
    const list = (count: number) => Array.from({ length: count }, (_, n) => n).join(',');
    const narrow = routeOf(`m?a=in.(${list(50)})&b=in.(${list(20)})`).matcher;
    const wide = routeOf(`m?a=in.(${list(50)})&b=in.(${list(21)})`).matcher;
    if (narrow === undefined || wide === undefined) throw new Error('no filters');
    expect(50 * 20).toBe(MOST_KEYS);
    expect(planOf(narrow)?.indexed.map(({ column }) => column)).toEqual(['a', 'b']);
    expect(planOf(wide)?.indexed.map(({ column }) => column)).toEqual(['b']);
    const index = indexOf(`m?a=in.(${list(50)})&b=in.(${list(21)})`);
    expect(found(index, changeOf({ a: 50 }, { a: 49, b: 20 }))[0]).toMatch(/ enter$/);
    expect(found(index, changeOf({ b: 21 }, { a: 50, b: 20 }))).toEqual([]);
  });

  it('keeps nothing of topics that went', () => {
    const topics = ['m', 'm?a=eq.1', 'm?a=in.(1,2)&b=eq.1', 'm?b=gt.5', 'm?a=in.()', 'm?a=eq.2'].map(routeOf);
    const index = new TableIndex<Route>();
    for (const route of topics) index.add(route);
    expect(index.counts).toEqual({ groups: 2, keys: 4, columns: 2, tried: 1, unfiltered: 1 });
    for (const route of topics.splice(1, 1)) index.remove(route);
    expect(index.counts).toEqual({ groups: 2, keys: 3, columns: 2, tried: 1, unfiltered: 1 });
    for (const route of topics) index.remove(route);
    expect(index.size).toBe(0);
    expect(index.counts).toEqual({ groups: 0, keys: 0, columns: 0, tried: 0, unfiltered: 0 });
  });
});

describe('the router', () => {
  function setUp() {
    const calls: string[] = [];
    let page = 0;
    const router = createRouter({
      publish: (topic, frame) => calls.push(`${topic} ${frame.length > 0}`),
      cursor: () => 'c0',
      onStale: () => calls.push('stale'),
      observe: () => undefined,
    });
    return {
      router,
      calls,
      add(text: string): Topic {
        const parsed = parseTopic(text);
        if (parsed.kind !== 'table') throw new Error(`${text} is no table`);
        const { topic, matcher } = routeOf(text);
        router.add(topic, { relation: M, parsed, matcher });
        return topic;
      },
      commit(...changes: TableChange[]) {
        router.route({
          xid: BigInt(++page),
          id: BigInt(page),
          at: 'now',
          changes,
          message: null,
          changesFollow: false,
          parts: 1,
          skipParts: 0,
          first: true,
          last: true,
          cursor: `c${page}`,
        });
      },
    };
  }

  it('says once that a topic is stale, until it is gone', () => {
    const { router, calls, add, commit } = setUp();
    const topic = add('m?a=eq.1');
    expect(router.isStale(topic)).toBe(false);
    commit(changeOf(null, { b: 1 }), changeOf(null, { b: 2 }));
    commit(changeOf(null, { b: 3 }));
    expect([calls, router.isStale(topic)]).toEqual([['stale'], true]);
    router.remove(topic);
    expect(router.isStale(topic)).toBe(false);
    add('m?a=eq.1');
    commit(changeOf(null, { a: 1 }));
    expect(calls).toEqual(['stale', 'public.m?a=eq.1 true']);
  });

  it('selects for those who catch up as it routes for the others', () => {
    const { router, add } = setUp();
    const select = router.select(add('m:insert,update?a=eq.1'));
    expect(select(changeOf({ a: 2 }, { a: 1 }))).toMatch(/"effect":"enter"\}$/);
    expect(select(changeOf({ a: 1 }, { a: 2 }))).toBe(
      '{"op":"update","table":"public.m","key":{"id": 1},"effect":"leave"}',
    );
    expect(select(changeOf({ a: 1 }, null))).toBeUndefined();
    expect(select(changeOf({ a: 3 }, { a: 2 }))).toBeUndefined();
    expect(() => select(changeOf(null, { b: 1 }))).toThrow('subscribe again');
  });

  it('routes a commit among 10,000 equality filters in about the time that it takes among one', () => {
    const one = setUp();
    one.add('m?a=eq.7');
    const many = setUp();
    for (let n = 0; n < 10_000; n++) many.add(`m?a=eq.${n}`);
    const commit = changeOf({ b: 1 }, { a: 7, b: 2, c: 3 });
    const cost = ({ commit: route }: typeof one) => {
      const begun = performance.now();
      for (let n = 0; n < 1000; n++) route(commit);
      return performance.now() - begun;
    };
    const costs = Array.from({ length: 6 }, () => [cost(one), cost(many)] as const).slice(1);
    const least = (which: 0 | 1) => Math.min(...costs.map((pair) => pair[which]));
    // How close is the bench's to say; trying each filter would cost a thousand times as much.
    expect(least(1)).toBeLessThan(50 * least(0));
  });
});
