/** The grammar of topics, rule by rule, and its promises over random text. */
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ProtocolError } from '../src/protocol.ts';
import { decode, encode, RESERVED } from '../src/topic/text.ts';
import {
  canonicalTopic,
  channelTopic,
  type Filter,
  IS_VALUES,
  OPS,
  type ParsedTopic,
  parseTopic,
  SCALAR_OPERATORS,
  type TableTopic,
  withFilters,
} from '../src/topic.ts';

const RUNS = 100_000;

function canonicalOf(text: string): string {
  return canonicalTopic(parseTopic(text));
}

function faultOf(text: string): ProtocolError | undefined {
  try {
    parseTopic(text);
    return undefined;
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
}

function table(text: string): TableTopic {
  const topic = parseTopic(text);
  if (topic.kind !== 'table') throw new Error(`${text} is a ${topic.kind}`);
  return topic;
}

/** `expect` is too slow for tens of thousands of runs. */
function same(found: unknown, wanted: unknown): void {
  if (isDeepStrictEqual(found, wanted)) return;
  throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
}

/** A filter with the items of its list in order, each once; by means of its own. */
function sorted({ column, operator, value }: Filter): Record<string, unknown> {
  return { column, operator, value: typeof value === 'string' ? value : [...new Set(value)].sort() };
}

describe('the canonical spelling', () => {
  it.each([
    // names
    ['messages', 'public.messages'],
    ['public.messages', 'public.messages'],
    ['Shop.Orders', 'Shop.Orders'],
    ['a%2Eb.c%2ed', 'a%2Eb.c%2Ed'],
    ['%6Dessages', 'public.messages'],
    ['my table', 'public.my table'],
    ['größe', 'public.größe'],
    ['gr%C3%B6%C3%9Fe', 'public.größe'],
    ['%23x', 'public.%23x'],
    ['%40me', 'public.%40me'],
    ['a%3Ab%3Fc%26d%3De%25f%2Cg', 'public.a%3Ab%3Fc%26d%3De%25f%2Cg'],
    ['__proto__.constructor', '__proto__.constructor'],
    // ops
    ['m:insert', 'public.m:insert'],
    ['m:delete,insert', 'public.m:insert,delete'],
    ['m:truncate,update,update', 'public.m:update,truncate'],
    ['m:truncate,delete,update,insert', 'public.m'],
    // filters
    ['messages:insert,update?room_id=eq.7', 'public.messages:insert,update?room_id=eq.7'],
    ['m?b=eq.1&a=eq.2', 'public.m?a=eq.2&b=eq.1'],
    ['m?a=lt.5&a=gte.1', 'public.m?a=gte.1&a=lt.5'],
    ['m?a=neq.2&a=neq.10', 'public.m?a=neq.10&a=neq.2'],
    ['m?a=eq.1&a=eq.1', 'public.m?a=eq.1'],
    ['m?%61=eq.%31', 'public.m?a=eq.1'],
    ['m?a%2Eb=eq.1', 'public.m?a%2Eb=eq.1'],
    // values
    ['m?a=eq.', 'public.m?a=eq.'],
    ['m?a=eq.7.00', 'public.m?a=eq.7.00'],
    ['m?a=eq.x%26y%25z', 'public.m?a=eq.x%26y%25z'],
    ['m?a=eq.x=y?z:(1,2)*"+', 'public.m?a=eq.x=y?z:(1,2)*"+'],
    ['m?a=gt.2024-05-01T10:00:00%2B02:00', 'public.m?a=gt.2024-05-01T10:00:00+02:00'],
    ['m?a=eq.%0A%7F%C2%85', 'public.m?a=eq.%0A%7F%C2%85'],
    ['m?a=eq.🙂', 'public.m?a=eq.🙂'],
    ['m?a=eq.null', 'public.m?a=eq.null'],
    // patterns
    ['m?a=like.x%25', 'public.m?a=like.x%25'],
    ['m?a=ilike.*x*', 'public.m?a=ilike.%25x%25'],
    ['m?a=like.x%2A', 'public.m?a=like.x%2A'],
    // is
    ['m?a=is.null', 'public.m?a=is.null'],
    ['m?a=is.NOT_NULL', 'public.m?a=is.not_null'],
    ['m?a=is.True', 'public.m?a=is.true'],
    ['m?a=is.false', 'public.m?a=is.false'],
    ['m?a=is.unknown', 'public.m?a=is.unknown'],
    // in
    ['m?a=in.(b,a)', 'public.m?a=in.(a,b)'],
    ['m?a=in.(a,b,a)', 'public.m?a=in.(a,b)'],
    ['m?a=in.()', 'public.m?a=in.()'],
    ['m?a=in.("")', 'public.m?a=in.("")'],
    ['m?a=in.(,b)', 'public.m?a=in.("",b)'],
    ['m?a=in.("a,b",c)', 'public.m?a=in.(a%2Cb,c)'],
    ['m?a=in.(a%2Cb,%28c%29)', 'public.m?a=in.(%28c%29,a%2Cb)'],
    ['m?a=in.("(\\"x\\\\)")', 'public.m?a=in.(%28%22x\\%29)'],
    ['m?a=in.("x%26y")', 'public.m?a=in.(x%26y)'],
    ['m?a=in.(a b,*)', 'public.m?a=in.(*,a b)'],
    // channels and the inbox
    ['#lobby', '#lobby'],
    ['#room:42.x&y', '#room:42.x&y'],
    ['#a%3Fb%25', '#a%3Fb%25'],
    ['#%6Cobby', '#lobby'],
    ['@me', '@me'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalOf(text)).toBe(canonical);
    expect(canonicalOf(canonical)).toBe(canonical);
    expect(parseTopic(canonical)).toEqual(parseTopic(text));
  });
});

describe('a parsed topic', () => {
  it('says what a matcher needs, decoded', () => {
    expect(parseTopic('a%2Eb.c:delete?x=in.(2,"1,5")&y=is.Null&z=like.*%2A')).toEqual({
      kind: 'table',
      schema: 'a.b',
      table: 'c',
      ops: ['delete'],
      filters: [
        { column: 'x', operator: 'in', value: ['1,5', '2'] },
        { column: 'y', operator: 'is', value: 'null' },
        { column: 'z', operator: 'like', value: '%*' },
      ],
    });
  });

  it('has all ops where none are given', () => {
    expect(table('m').ops).toEqual(['insert', 'update', 'delete', 'truncate']);
  });

  it('tells channels and the inbox apart from tables', () => {
    expect(parseTopic('#a%25b')).toEqual({ kind: 'channel', name: 'a%b' });
    expect(parseTopic('@me')).toEqual({ kind: 'inbox' });
    expect(canonicalTopic(channelTopic('what?'))).toBe('#what%3F');
  });

  it('takes other filters in any order and folds those that became one', () => {
    const filters: Filter[] = [
      { column: 'b', operator: 'in', value: ['2', '1', '2'] },
      { column: 'a', operator: 'eq', value: '7.00' },
      { column: 'a', operator: 'eq', value: '7.00' },
    ];
    const changed = withFilters(table('m:insert?a=eq.7&a=eq.7.00'), filters);
    expect(canonicalTopic(changed)).toBe('public.m:insert?a=eq.7.00&b=in.(1,2)');
    expect(parseTopic(canonicalTopic(changed))).toEqual(changed);
  });

  it('is spelled canonically even where it was made by hand, out of order', () => {
    const topic: ParsedTopic = { ...table('m'), ops: ['delete', 'insert'] };
    expect(canonicalTopic(topic)).toBe('public.m:insert,delete');
    expect(canonicalTopic({ ...topic, ops: [] })).toBe('public.m');
  });
});

describe('a bad topic', () => {
  it.each([
    ['', /the table has no name/],
    ['?a=eq.1', /the table has no name/],
    ['.m', /the schema has no name/],
    ['public.', /the table has no name/],
    ['a.b.c', /the table "b\.c" holds the reserved "\."; in a name write %2E/],
    ['a=b', /holds the reserved "="; in a name write %3D/],
    ['a&b=eq.1', /holds the reserved "&"/],
    ['a\nb', /in a name write %0A/],
    ['m:', /"" is no operation/],
    ['m:insert,', /"" is no operation/],
    ['m:upsert', /"upsert" is no operation; after ":" write insert, update, delete, truncate/],
    ['m:INSERT', /"INSERT" is no operation/],
    ['m:insert:update', /"insert:update" is no operation/],
    ['m?', /filter 1 "" is not column=operator\.value/],
    ['m?a=eq.1&', /filter 2 "" is not/],
    ['m?a', /filter 1 "a" is not/],
    ['m?a=7', /filter 1 "a=7" is not/],
    ['m?a=eq.1&=eq.7', /the column of filter 2 has no name/],
    ['m?a.b=eq.1', /the column of filter 1 "a\.b" holds the reserved "\."/],
    ['m?a=is_a.1', /filter 1: "is_a" is no operator; write eq, neq/],
    ['m?a=not.eq.1', /"not" is no operator/],
    ['m?a=__proto__.1', /"__proto__" is no operator/],
    ['m?a=is.7', /"7" cannot follow "is\."; write one of null, not_null/],
    ['m?a=in.1,2', /filter 1: "1,2" is no list; write in\.\(a,b\)/],
    ['m?a=in.(', /is no list/],
    ['m?a=in.(a', /is no list/],
    ['m?a=in.(a,(b))', /item 2 of filter 1, at "\(b\)", holds a parenthesis/],
    ['m?a=in.("a)', /item 1 of filter 1/],
    ['m?a=in.("a"b)', /item 1 of filter 1/],
    ['m?a=like.50%', /filter 1 "50%" holds a % that begins no UTF-8 escape; write % as %25/],
    ['m?a=eq.%GG', /write % as %25/],
    ['m?a=eq.%FF', /write % as %25/],
    ['m?a=eq.%ED%A0%80', /write % as %25/],
    ['m%', /the table "m%" holds a %/],
    ['m?a=eq.%00', /filter 1 holds a NUL character/],
    ['m\0', /reserved/],
    ['m?a=eq.\ud800', /half a surrogate pair/],
    ['#', /the channel has no name/],
    ['#a?b=eq.1', /a channel takes no filters/],
    [`#${'x'.repeat(129)}`, /129 characters; the limit is 128/],
    ['@', /the inbox is "@me" alone/],
    ['@you', /the inbox is "@me" alone, not "@you"/],
    ['@me?a=eq.1', /the inbox is "@me" alone/],
    ['x'.repeat(4097), /the topic has 4097 characters.*; the limit is 4096/],
    ['x'.repeat(4096), /the topic has 4103 characters.*; the limit is 4096/],
    [`m?${Array(17).fill('a=eq.1').join('&')}`, /the topic has 17 filters; the limit is 16/],
  ])('%j says what is wrong', (text, message) => {
    const fault = faultOf(text);
    expect(fault?.code).toBe('bad_topic');
    expect(fault?.message).toMatch(message);
  });

  it('quotes only the beginning of a long text', () => {
    expect(faultOf(`m?${'a'.repeat(4000)}`)?.message.length).toBeLessThan(200);
  });

  it('is one past each limit, not at it', () => {
    const filters = Array.from({ length: 16 }, (_, index) => `a=neq.${index}`);
    expect(table(`m?${filters.join('&')}`).filters).toHaveLength(16);
    expect(canonicalOf(`#${'x'.repeat(128)}`)).toHaveLength(129);
    expect(canonicalOf(`#${'🙂'.repeat(128)}`)).toHaveLength(257);
    expect(canonicalOf(`public.${'x'.repeat(4089)}`)).toHaveLength(4096);
    expect(() => withFilters(table('m'), [{ column: 'a', operator: 'eq', value: '&'.repeat(1400) }])).toThrow(
      /the limit is 4096/,
    );
    expect(() => parseTopic('m?a=eq.1', { maxLength: 4096, maxFilters: 0 })).toThrow(/limit is 0/);
  });
});

describe('over random topics', () => {
  const character = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...'ab7.:,?&=#@%()"*\\\' +\n'.split('')) },
    { weight: 1, arbitrary: fc.constantFrom('%25', '%2C', '%28', '%c3%b6', 'é', '🙂', '\u0085', '\ud800') },
  );
  const fragment = fc.constantFrom(
    'm',
    'a.b',
    ':insert',
    '?a=eq.',
    '&b=in.(',
    ')',
    '#',
    '@me',
    '=is.null',
    '=like.',
  );
  const text = fc.oneof(
    fc.string({ unit: character, maxLength: 30 }),
    fc.array(fc.oneof(fragment, character), { maxLength: 12 }).map((parts) => parts.join('')),
    fc.string({ unit: 'binary', maxLength: 20 }).map((value) => `m?a=eq.${value}`),
  );

  // As a parser makes them; fast-check makes some without a prototype.
  const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
    fc.record<T>(model, { noNullPrototype: true });

  // Any text that PostgreSQL can hold.
  const content = fc
    .oneof(
      fc.string({ unit: fc.constantFrom(...'a.:,?&=#@%()"*\\ \n'.split('')), maxLength: 6 }),
      fc.string({ unit: 'binary', maxLength: 3 }),
    )
    .map((value) => value.replaceAll('\0', ''));
  const name = content.filter((value) => value !== '');
  const filter: fc.Arbitrary<Filter> = fc.oneof(
    record({ column: name, operator: fc.constantFrom(...SCALAR_OPERATORS), value: content }),
    record({ column: name, operator: fc.constant('is' as const), value: fc.constantFrom(...IS_VALUES) }),
    record({
      column: name,
      operator: fc.constant('in' as const),
      value: fc.array(content, { maxLength: 3 }),
    }),
  );
  const topic: fc.Arbitrary<ParsedTopic> = fc.oneof(
    {
      weight: 8,
      arbitrary: record({
        kind: fc.constant('table' as const),
        schema: name,
        table: name,
        ops: fc.subarray([...OPS]),
        filters: fc.array(filter, { maxLength: 3 }),
      }),
    },
    { weight: 1, arbitrary: name.map((value) => channelTopic(value)) },
  );

  // fast-check's message on failure holds the seed and the path that replay it.
  it('any text is a topic or a bad_topic, and the canonical spelling is the topic', () => {
    let topics = 0;
    fc.assert(
      fc.property(text, (given) => {
        if (faultOf(given)?.code === 'bad_topic') return;
        topics++;
        const parsed = parseTopic(given);
        const canonical = canonicalTopic(parsed);
        same(parseTopic(canonical), parsed);
        same(canonicalTopic(parseTopic(canonical)), canonical);
      }),
      { numRuns: RUNS },
    );
    expect(topics).toBeGreaterThan(RUNS / 20);
  });

  it('whatever its names and values hold, a topic reads back in normal form', () => {
    fc.assert(
      fc.property(topic, (made) => {
        const canonical = canonicalTopic(made);
        const parsed = parseTopic(canonical);
        same(canonicalTopic(parsed), canonical);
        if (made.kind !== 'table' || parsed.kind !== 'table') return same(parsed, made);
        same([parsed.schema, parsed.table], [made.schema, made.table]);
        const wanted = made.filters.map((filter) => JSON.stringify(sorted(filter)));
        const found = parsed.filters.map((filter) => JSON.stringify(sorted(filter)));
        same(found.sort(), [...new Set(wanted)].sort());
      }),
      { numRuns: RUNS },
    );
  });

  it('whatever else of its names and values is percent-encoded, a topic means the same', () => {
    const encoded = (text: string, which: boolean[], reserved: RegExp) =>
      [...text].map((one, n) => (which[n % which.length] ? every(one) : encode(one, reserved))).join('');
    const every = (one: string) =>
      [...Buffer.from(one)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    fc.assert(
      fc.property(
        name,
        name,
        content,
        // In a pattern, a star means another thing than its escape.
        fc.constantFrom(...SCALAR_OPERATORS.filter((operator) => !operator.endsWith('like'))),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
        (relation, column, value, operator, which) => {
          const [itsSchema, itsColumn] = [relation, column].map((one) => encoded(one, which, RESERVED.name));
          const itsValue = encoded(value, which, RESERVED.value);
          same(parseTopic(`${itsSchema}.t?${itsColumn}=${operator}.${itsValue}`), {
            kind: 'table',
            schema: relation,
            table: 't',
            ops: OPS,
            filters: [{ column, operator, value }],
          });
        },
      ),
      { numRuns: RUNS },
    );
  });

  it('the order of filters and items changes nothing', () => {
    const shuffled = fc
      .array(filter, { maxLength: 6 })
      .chain((filters) =>
        fc.tuple(fc.constant(filters), fc.shuffledSubarray(filters, { minLength: filters.length })),
      );
    fc.assert(
      fc.property(shuffled, ([filters, others]) => {
        const base = table('m');
        same(withFilters(base, others), withFilters(base, filters));
      }),
      { numRuns: 2_000 },
    );
  });

  it('decoding undoes encoding, in every place', () => {
    fc.assert(
      fc.property(content, (value) => {
        for (const reserved of Object.values(RESERVED)) same(decode(encode(value, reserved), 'it'), value);
      }),
      { numRuns: RUNS },
    );
  });
});
