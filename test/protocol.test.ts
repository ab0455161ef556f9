/** Frames: what is read, what is refused and how, what is written; and that PROTOCOL.md says the same. */
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  CLOSE_CODES,
  type ClientFrame,
  changeHead,
  ERROR_CODES,
  encode,
  encodeChange,
  encodeMessage,
  encodeSnapshot,
  errorFrame,
  PROTOCOL_NAME,
  PROTOCOL_VERSION,
  ProtocolError,
  parseClientFrame,
} from '../src/protocol.ts';
import { canonicalTopic, parseTopic } from '../src/topic.ts';

function faultOf(text: string, maxDepth?: number): ProtocolError {
  try {
    parseClientFrame(text, maxDepth === undefined ? {} : { maxDepth });
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
  throw new Error(`${text.slice(0, 80)} was taken for a frame`);
}

/** Its payload spelled as JSON.stringify does. */
function withPlainPayload(frame: ClientFrame): ClientFrame {
  return 'payload' in frame ? { ...frame, payload: JSON.stringify(JSON.parse(frame.payload)) } : frame;
}

describe('a client frame', () => {
  it.each<ClientFrame>([
    { type: 'subscribe', id: '1', topic: 'messages' },
    { type: 'subscribe', id: '1', topic: '' },
    { type: 'subscribe', id: '1', topic: 'messages', since: 'c' },
    { type: 'subscribe', id: '1', topic: 'messages', snapshot: true },
    { type: 'subscribe', id: '1', topic: 'messages', snapshot: {} },
    { type: 'subscribe', id: '1', topic: 'messages', snapshot: { limit: 100, order: 'id.desc' } },
    { type: 'subscribe', id: '__proto__', topic: 'messages' },
    { type: 'unsubscribe', id: 'x'.repeat(64) },
    { type: 'unsubscribe', id: '🙂'.repeat(64) },
    { type: 'auth', token: 't' },
    { type: 'auth', id: '1', token: 't' },
    { type: 'ping' },
    { type: 'ping', id: '1' },
  ])('is read: %j', (frame) => {
    expect(parseClientFrame(JSON.stringify(frame))).toEqual(frame);
    expect(parseClientFrame(JSON.stringify({ ...frame, extra: 1 }))).toEqual(frame);
  });

  it.each([
    ['null', 'null'],
    [' {"a" :\n[1,\t12345678901234567890.10]} ', '{"a" :\n[1,\t12345678901234567890.10]}'],
    ['"\\"}"', '"\\"}"'],
    ['true', 'true'],
  ])('that publishes has the payload as it was written: %j', (written, payload) => {
    const target = { type: 'publish', id: '1', channel: 'lobby', event: 'e' };
    for (const text of [
      `\n{"payload":${written},\r\n"type":"publish" , "id":"1","channel":"lobby","event":"e"}`,
      `{"payload":1,"type":"publish","id":"1","channel":"lobby","event":"e","payload":${written}}`,
    ]) {
      expect(parseClientFrame(text)).toEqual({ ...target, payload });
    }
    expect(parseClientFrame('{"pay\\u006coad":[1],"type":"publish","user":"42","event":"e"}')).toEqual({
      type: 'publish',
      user: '42',
      event: 'e',
      payload: '[1]',
    });
  });

  it('loses what it need not know in its snapshot too', () => {
    const text = '{"type":"subscribe","id":"1","topic":"m","snapshot":{"limit":1,"offset":5}}';
    expect(parseClientFrame(text)).toEqual({
      type: 'subscribe',
      id: '1',
      topic: 'm',
      snapshot: { limit: 1 },
    });
  });
});

describe('a bad frame', () => {
  it.each([
    ['', 'no JSON', undefined],
    ['{', 'no JSON', undefined],
    ['\ufeff{"type":"ping"}', 'no JSON', undefined],
    ["{'type':'ping'}", 'no JSON', undefined],
    ['null', 'must be a JSON object; it is null', undefined],
    ['[]', 'must be a JSON object; it is an array', undefined],
    ['"ping"', 'must be a JSON object', undefined],
    ['{}', '"type" must be subscribe, unsubscribe, publish, auth or ping; it is missing', undefined],
    ['{"type":7,"id":"a"}', '"type" must be', 'a'],
    ['{"type":"pong","id":"a"}', 'it is "pong", which is unknown', 'a'],
    ['{"type":"__proto__"}', 'unknown', undefined],
    ['{"type":"constructor"}', 'unknown', undefined],
    ['{"__proto__":{"type":"ping"}}', '"type" must be', undefined],
    ['{"type":"ping","id":7}', '"id" must be a string of 1 to 64 characters; it is 7', undefined],
    ['{"type":"ping","id":""}', '"id" must be a string of 1 to 64 characters; it is empty', undefined],
    ['{"type":"ping","id":null}', '"id" must be', undefined],
    [`{"type":"ping","id":"${'x'.repeat(65)}"}`, 'it is a string of 65', undefined],
    [`{"type":"ping","id":"${'🙂'.repeat(65)}"}`, '"id" must be', undefined],
    ['{"type":"subscribe","topic":"m"}', '"subscribe" needs "id"', undefined],
    ['{"type":"unsubscribe"}', '"unsubscribe" needs "id"', undefined],
    ['{"type":"subscribe","id":"a"}', '"topic" must be a string; it is missing', 'a'],
    ['{"type":"subscribe","id":"a","__proto__":{"topic":"m"}}', '"topic" must be', 'a'],
    ['{"type":"subscribe","id":"a","topic":["m"]}', '"topic" must be a string; it is an array', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","since":7}', '"since" must be a cursor', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","since":null}', '"since" must be a cursor', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","since":"c","snapshot":true}', 'exclude each other', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","snapshot":false}', 'it is false; leave it out for none', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","snapshot":[]}', '"snapshot" must be true or', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","snapshot":{"limit":0}}', '"snapshot.limit" must be', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","snapshot":{"limit":1.5}}', '"snapshot.limit" must be', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","snapshot":{"limit":"9"}}', '"snapshot.limit" must be', 'a'],
    ['{"type":"subscribe","id":"a","topic":"m","snapshot":{"limit":1e300}}', '"snapshot.limit" must be', 'a'],
    [
      '{"type":"subscribe","id":"a","topic":"m","snapshot":{"order":["id"]}}',
      '"snapshot.order" must be',
      'a',
    ],
    ['{"type":"publish","id":"a","event":"e","payload":1}', 'either "channel" or "user"', 'a'],
    ['{"type":"publish","id":"a","channel":"c","user":"u","event":"e","payload":1}', 'not both', 'a'],
    ['{"type":"publish","id":"a","channel":"","event":"e","payload":1}', '"channel" must be', 'a'],
    ['{"type":"publish","id":"a","user":42,"event":"e","payload":1}', '"user" must be', 'a'],
    [
      `{"type":"publish","id":"a","channel":"${'c'.repeat(129)}","event":"e","payload":1}`,
      '"channel" has 129 characters; the limit is 128',
      'a',
    ],
    ['{"type":"publish","id":"a","channel":"c","payload":1}', '"event" must be', 'a'],
    ['{"type":"publish","id":"a","channel":"c","event":"e"}', 'needs "payload"', 'a'],
    ['{"type":"auth","id":"a"}', '"token" must be a string that is not empty; it is missing', 'a'],
    ['{"type":"auth","id":"a","token":""}', '"token" must be', 'a'],
  ])('%s', (text, message, id) => {
    const fault = faultOf(text);
    expect(fault.code).toBe('bad_frame');
    expect(fault.message).toContain(message);
    expect(fault.id).toBe(id);
    expect(fault.close).toBeUndefined();
  });

  it('is an empty cursor, which is not taken for none', () => {
    const fault = faultOf('{"type":"subscribe","id":"a","topic":"m","since":""}');
    expect([fault.code, fault.id]).toEqual(['bad_cursor', 'a']);
  });

  it('never quotes a token', () => {
    const texts = ['{"type":"auth","token":"secret"', '{"type":"auth","token":{"a":"secret"}}', '"secret"'];
    for (const text of texts) {
      const fault = faultOf(text);
      expect(`${fault.stack} ${fault.cause}`).not.toContain('secret');
    }
  });

  it.each([
    ['arrays', '['],
    ['objects', '{"a":'],
  ])('nested a million deep in %s is refused without a crash', (_what, opening) => {
    expect(faultOf(opening.repeat(1_000_000)).message).toContain('nests deeper than 64 levels');
    const payload = '['.repeat(1_000_000) + ']'.repeat(1_000_000);
    const text = `{"type":"publish","channel":"c","event":"e","payload":${payload}}`;
    expect(faultOf(text).code).toBe('bad_frame');
  });

  it('is one level past the limit, whatever its strings hold', () => {
    const ping = (levels: number) =>
      `{"type":"ping","x":${'['.repeat(levels)}"\\"[[[{{{\\\\"${']'.repeat(levels)}}`;
    expect(parseClientFrame(ping(3), { maxDepth: 4 })).toEqual({ type: 'ping' });
    expect(faultOf(ping(4), 4).message).toContain('deeper than 4');
    expect(parseClientFrame(ping(63))).toEqual({ type: 'ping' });
    expect(faultOf(ping(64)).message).toContain('deeper than 64');
  });

  it('leaves every prototype as it was', () => {
    parseClientFrame('{"type":"ping","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
    const frame = parseClientFrame(
      '{"type":"publish","channel":"c","event":"e","payload":{"__proto__":{"polluted":1}}}',
    );
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(frame).toMatchObject({ payload: '{"__proto__":{"polluted":1}}' });
  });

  it('is all that random text can be', () => {
    const json = fc.json({ maxDepth: 2 });
    const fields = fc.dictionary(
      fc.constantFrom('id', 'topic', 'since', 'snapshot', 'channel', 'user', 'event', 'payload', 'token'),
      fc.oneof(
        fc.string({ maxLength: 4 }),
        fc.constantFrom<unknown>(true, null, 7, {}, [], { limit: 1 }, { order: 'id' }),
      ),
      { maxKeys: 6 },
    );
    const frame = fc
      .tuple(fc.constantFrom('subscribe', 'unsubscribe', 'publish', 'auth', 'ping', 'toString'), fields)
      .map(([type, rest]) => JSON.stringify({ ...rest, type }));
    let frames = 0;
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), json, { weight: 4, arbitrary: frame }),
        (text) => {
          try {
            const parsed = parseClientFrame(text);
            frames++;
            // A payload stays as it was written.
            const again = 'payload' in parsed ? { ...parsed, payload: JSON.parse(parsed.payload) } : parsed;
            return isDeepStrictEqual(parseClientFrame(JSON.stringify(again)), withPlainPayload(parsed));
          } catch (error) {
            return error instanceof ProtocolError && ['bad_frame', 'bad_cursor'].includes(error.code);
          }
        },
      ),
      { numRuns: 100_000 },
    );
    expect(frames).toBeGreaterThan(1_000);
  });
});

describe('a server frame', () => {
  const big = '{"id":9007199254740993,"n":1.50,"text":"a\\u2028\\"]"}';

  it('of changes takes each change over as it is', () => {
    const change = `{"op":"insert","table":"public.m","key":{"id":1},"new":${big}}`;
    const parts = {
      head: changeHead('public.m?a=eq."x"'),
      cursor: 'c',
      at: '2025-01-02T03:04:05.678901Z',
      changes: [change, change],
    };
    const head =
      '{"type":"change","topic":"public.m?a=eq.\\"x\\"","cursor":"c","at":"2025-01-02T03:04:05.678901Z"';
    expect(encodeChange({ ...parts, more: false })).toBe(`${head},"changes":[${change},${change}]}`);
    expect(encodeChange({ ...parts, more: true })).toBe(
      `${head},"changes":[${change},${change}],"more":true}`,
    );
  });

  it('of a snapshot says more, or has the cursor', () => {
    const parts = { id: '"1"', topic: 'public.m', rows: [big, big] };
    const head = '{"type":"snapshot","id":"\\"1\\"","topic":"public.m"';
    expect(encodeSnapshot({ ...parts, cursor: undefined })).toBe(
      `${head},"rows":[${big},${big}],"more":true}`,
    );
    expect(encodeSnapshot({ ...parts, rows: [], cursor: 'c' })).toBe(`${head},"rows":[],"cursor":"c"}`);
  });

  it('of a message takes its payload over as it is', () => {
    const wire = `"event":"e","payload":${big},"from":null`;
    const text = encodeMessage({ topic: '#a', cursor: 'c', at: 't', wire });
    expect(text).toBe(`{"type":"message","topic":"#a","cursor":"c","at":"t",${wire}}`);
  });

  it('of anything else is its JSON', () => {
    expect(encode({ type: 'pong', id: '1', cursor: 'c' })).toBe('{"type":"pong","id":"1","cursor":"c"}');
  });

  it('of an error has the id that the fault knew, or the one it is given', () => {
    const known = new ProtocolError('bad_topic', 'no', { id: 'a', close: CLOSE_CODES.badFrames });
    expect(errorFrame(known)).toEqual({
      type: 'error',
      id: 'a',
      code: 'bad_topic',
      message: 'no; this connection ends',
    });
    expect(errorFrame(new ProtocolError('internal', 'no'), 'b').id).toBe('b');
    expect(encode(errorFrame(new ProtocolError('internal', 'no')))).toBe(
      '{"type":"error","code":"internal","message":"no"}',
    );
    expect(known.close).toBe(4400);
  });
});

describe('PROTOCOL.md', () => {
  const page = readFileSync(new URL('../PROTOCOL.md', import.meta.url), 'utf8');
  const section = (title: string): string => {
    const [, after] = page.split(`\n## ${title}\n`);
    if (after === undefined) throw new Error(`PROTOCOL.md has no section "${title}"`);
    return after.split('\n## ')[0] ?? '';
  };
  const linesOf = (text: string, pattern: RegExp): string[][] =>
    [...text.matchAll(pattern)].map(([, ...groups]) => groups);

  it('names the protocol', () => {
    expect(page).toContain(`\`${PROTOCOL_NAME}\``);
    expect(page).toContain(`"protocol":${PROTOCOL_VERSION}`);
  });

  it('tables exactly the error codes there are', () => {
    const codes = linesOf(section('Error codes'), /^\| `(\w+)` \|/gm).flat();
    expect(codes).toEqual(Object.keys(ERROR_CODES));
  });

  it('tables exactly the close codes there are', () => {
    const codes = linesOf(section('Close codes'), /^\| (\d+) \|/gm).flat();
    expect(codes.map(Number)).toEqual(Object.values(CLOSE_CODES));
  });

  it('shows topics that are canonically what it says', () => {
    const rows = linesOf(section('Topics'), /^\| `([^`]+)` \| `([^`]+)` \|/gm);
    expect(rows.length).toBeGreaterThan(8);
    for (const [text = '', canonical] of rows) expect(canonicalTopic(parseTopic(text))).toBe(canonical);
  });

  it('shows client frames that are read, and server frames that say their type', () => {
    const flows = section('Flows');
    const sent = linesOf(flows, /^C: (.+)$/gm).flat();
    expect(new Set(sent.map((text) => parseClientFrame(text).type))).toEqual(
      new Set(['subscribe', 'unsubscribe', 'publish', 'auth', 'ping']),
    );
    const received = linesOf(flows, /^S: (.+)$/gm).flat();
    const types = new Set(received.map((text) => /^\{"type":"(\w+)"/.exec(text)?.[1]));
    for (const text of received) JSON.parse(text);
    expect([...types].sort()).toEqual(
      [
        ...['welcome', 'subscribed', 'snapshot', 'live', 'change', 'message', 'reset', 'unsubscribed'],
        ...['published', 'authenticated', 'pong', 'cursor', 'error'],
      ].sort(),
    );
  });
});
