/** Routing: which frames the pages of commits become. */
import { describe, expect, it } from '@jest/globals';
import type { Message, Page, TableChange } from '../src/commit.ts';
import type { Observation } from '../src/observation.ts';
import { withEffect } from '../src/router/effect.ts';
import { createRouter, type Matcher } from '../src/router.ts';
import { canonicalTopic, inboxOf, type Op, parseTopic, type Topic } from '../src/topic.ts';
import { relationOf } from './harness/relation.ts';

const AT = '2026-01-02T03:04:05Z';

function change(op: Op, id: string, table = 'public.m', relation = relationOf(table)): TableChange {
  return { relation, table, op, wire: `{"op":"${op}","table":"${table}","key":{"id":${id}}}` };
}

function setUp() {
  const sent: [topic: string, frame: Record<string, unknown>][] = [];
  const texts: string[] = [];
  const seen: Observation[] = [];
  let cursor = 'c0';
  let count = 0;
  const router = createRouter({
    publish(topic, frame) {
      texts.push(frame);
      sent.push([topic, JSON.parse(frame)]);
    },
    cursor: () => cursor,
    observe: (observation) => seen.push(observation),
  });
  return {
    router,
    texts,
    seen,
    add(text: string, matcher?: Matcher): Topic {
      const parsed = parseTopic(text);
      if (parsed.kind !== 'table') throw new Error(`${text} is no table`);
      const topic = canonicalTopic(parsed);
      router.add(topic, { relation: relationOf(`${parsed.schema}.${parsed.table}`), parsed, matcher });
      return topic;
    },
    addMessages(text: string): void {
      const topic = canonicalTopic(parseTopic(text));
      router.addMessages(topic, topic);
    },
    /** Routes one page; gives what was published: topic, cursor, the ids of the changes, `more`. */
    route(changes: TableChange[], page: Partial<Page> = {}): unknown[] {
      const { first = true, last = true, message = null, changesFollow = !last } = page;
      cursor = `c${++count}`;
      sent.length = 0;
      const commit = { xid: BigInt(count), id: BigInt(count), at: AT, parts: 1, skipParts: 0 };
      router.route({ ...commit, changes, message, changesFollow, first, last, cursor });
      return sent.map(([topic, frame]) => {
        if (frame['type'] === 'message') return [topic, frame['cursor'], frame['topic'], frame['event']];
        expect(frame).toMatchObject({ type: 'change', topic, at: AT });
        const { cursor: at, changes: those, more } = frame;
        const ids = Array.isArray(those) ? those.map((one) => one.key.id) : undefined;
        return [topic, at, ids, ...(more === undefined ? [] : [more])];
      });
    },
  };
}

describe('the router', () => {
  const said = (event: string): Message => ({
    op: 'message',
    topic: canonicalTopic({ kind: 'channel', name: 'a' }),
    wire: `"event":"${event}","payload":null,"from":null`,
  });

  it('publishes messages to their topic alone, by its name, after the changes before them', () => {
    const { add, addMessages, route } = setUp();
    add('m');
    addMessages('#a');
    addMessages('#b');
    expect(route([change('insert', '1')], { message: said('x') })).toEqual([
      ['public.m', 'c1', [1]],
      ['#a', 'c1', '#a', 'x'],
    ]);
    expect(route([], { message: { ...said('x'), topic: inboxOf('7') } })).toEqual([]);
  });

  it('says more of changes that a message came after, until it is known, and then ends them', () => {
    const { add, addMessages, route } = setUp();
    for (const topic of ['m', 'rooms']) add(topic);
    addMessages('#a');
    const rooms = change('insert', '2', 'public.rooms');
    const first = { message: said('x'), last: false, changesFollow: true };
    expect(route([change('insert', '1'), rooms], first)).toEqual([
      ['public.m', 'c1', [1], true],
      ['public.rooms', 'c1', [2], true],
      ['#a', 'c1', '#a', 'x'],
    ]);
    expect(route([change('insert', '3')], { first: false })).toEqual([
      ['public.rooms', 'c2', []],
      ['public.m', 'c2', [3]],
    ]);
    // Where none follow, there is nothing to wait for.
    expect(route([rooms], { message: said('x'), last: false, changesFollow: false })).toEqual([
      ['public.rooms', 'c3', [2]],
      ['#a', 'c3', '#a', 'x'],
    ]);
    expect(route([], { first: false, message: said('y') })).toEqual([['#a', 'c4', '#a', 'y']]);
  });

  it('publishes a commit once per topic that it concerns, in the order of its changes', () => {
    const { add, route, seen, texts } = setUp();
    for (const topic of ['m', 'rooms', 'other']) add(topic);
    const got = route([change('insert', '1', 'public.rooms'), change('insert', '2'), change('update', '3')]);
    expect(got).toEqual([
      ['public.rooms', 'c1', [1]],
      ['public.m', 'c1', [2, 3]],
    ]);
    const bytes = Buffer.byteLength(texts.join(''));
    expect(seen).toEqual([{ type: 'frame.published', frames: 2, bytes }]);
  });

  it('takes changes over as they are', () => {
    const { add, route, texts } = setUp();
    add('m');
    route([change('insert', '9007199254740993')]);
    expect(texts[0]).toContain('"key":{"id":9007199254740993}}]}');
  });

  it('tells nobody of a commit that concerns nobody', () => {
    const { add, route, seen } = setUp();
    add('m:delete');
    expect(route([change('insert', '1'), change('insert', '1', 'shop.m')])).toEqual([]);
    expect(seen).toEqual([]);
  });

  it('gives a topic only its operations', () => {
    const { add, route } = setUp();
    add('m:delete,insert');
    add('m:truncate');
    const all = [
      change('insert', '1'),
      change('update', '2'),
      change('delete', '3'),
      change('truncate', '4'),
    ];
    expect(route(all)).toEqual([
      ['public.m:insert,delete', 'c1', [1, 3]],
      ['public.m:truncate', 'c1', [4]],
    ]);
  });

  it('finds a table by its oid, whatever its name', () => {
    const { add, route } = setUp();
    const topic = add('Odd%2ESchema.T%C3%B6ble');
    const relation = relationOf('Odd.Schema.Töble');
    expect(route([change('insert', '1', 'Odd%2ESchema.Töble', relation)])).toEqual([[topic, 'c1', [1]]]);
  });

  it('publishes nothing more of a topic that was removed', () => {
    const { add, route, router } = setUp();
    const topic = add('m');
    add('m:insert');
    router.remove(topic);
    expect(route([change('insert', '1')])).toEqual([['public.m:insert', 'c1', [1]]]);
  });

  it('refuses to route a topic twice', () => {
    const { add } = setUp();
    add('m');
    expect(() => add('public.m')).toThrow('routed already');
  });
});

describe('a commit of several pages', () => {
  const first = { last: false };
  const middle = { parts: 1, skipParts: 0, first: false, last: false };
  const last = { first: false };

  it('says more on all frames of a topic but its last', () => {
    const { add, route, router } = setUp();
    for (const topic of ['m', 'rooms', 'other']) add(topic);
    expect(router.settled).toBe(true);
    expect(route([change('insert', '1'), change('insert', '2', 'public.rooms')], first)).toEqual([]);
    expect(router.settled).toBe(false);
    expect(route([change('insert', '3')], middle)).toEqual([['public.m', 'c1', [1], true]]);
    expect(route([change('insert', '4'), change('insert', '5', 'public.other')], last)).toEqual([
      ['public.rooms', 'c3', [2]],
      ['public.m', 'c2', [3], true],
      ['public.m', 'c3', [4]],
      ['public.other', 'c3', [5]],
    ]);
    expect(router.settled).toBe(true);
    expect(route([change('insert', '6')])).toEqual([['public.m', 'c4', [6]]]);
  });

  it('ends a topic of the first page alone with the cursor of the last', () => {
    const { add, route } = setUp();
    add('m');
    route([change('insert', '1')], first);
    expect(route([], middle)).toEqual([]);
    expect(route([], last)).toEqual([['public.m', 'c3', [1]]]);
  });

  it('lets join at the cursor before what waits', () => {
    const { add, route, router } = setUp();
    const [m, rooms] = [add('m'), add('rooms')];
    expect(router.cursorOf(m)).toBe('c0');
    route([change('insert', '1')], first);
    expect([router.cursorOf(m), router.cursorOf(rooms)]).toEqual(['c0', 'c1']);
    route([change('insert', '2')], middle);
    expect([router.cursorOf(m), router.cursorOf(rooms)]).toEqual(['c1', 'c2']);
    route([], last);
    expect([router.cursorOf(m), router.cursorOf(rooms)]).toEqual(['c3', 'c3']);
  });

  it('forgets what waits for a topic that is removed meanwhile', () => {
    const { add, route, router } = setUp();
    const topic = add('m');
    route([change('insert', '1')], first);
    router.remove(topic);
    add('m');
    expect(router.cursorOf(topic)).toBe('c1');
    expect(route([change('insert', '2')], last)).toEqual([['public.m', 'c2', [2]]]);
  });

  it('is abandoned in a gap', () => {
    const { add, route, router } = setUp();
    const topic = add('m');
    route([change('insert', '1')], first);
    router.abandon();
    expect([router.settled, router.cursorOf(topic)]).toEqual([true, 'c1']);
    expect(route([change('insert', '2')])).toEqual([['public.m', 'c2', [2]]]);
  });
});

describe('an effect', () => {
  it('leaves nothing of a row that left but its key', () => {
    const key = '{"a\\"}":"\\\\\\"key\\":{","b":[{"c":12345678901234567890}]}';
    const wire = `{"op":"delete","table":"s.\\"key\\":{","key":${key},"old":{"key":{"secret":1}}}`;
    const left = withEffect(wire, 'leave');
    expect(left).toBe(`{"op":"delete","table":"s.\\"key\\":{","key":${key},"effect":"leave"}`);
    expect(() => withEffect('{"op":"truncate","table":"public.m"}', 'leave')).toThrow('without a key');
  });
});
