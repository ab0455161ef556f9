/** The parts of the client that need no service: states, backoff, numbers, tokens, the address. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { backoffMs } from '../src/client/backoff.ts';
import { endpointOf } from '../src/client/endpoint.ts';
import { exact } from '../src/client/exact.ts';
import type { Event as ConnectionEvent } from '../src/client/states.ts';
import { EVENTS, next, STATES } from '../src/client/states.ts';
import { renewalMs } from '../src/client/token.ts';
import { watchWindow } from '../src/client/window.ts';
import { tokenOf } from './harness/tokens.ts';

describe('the states of the connection', () => {
  const cells = STATES.flatMap((state) => EVENTS.map((event) => ({ state, event, to: next(state, event) })));

  it('have an answer to every event', () => {
    expect(cells.length).toBe(STATES.length * EVENTS.length);
    for (const { to } of cells) expect(STATES).toContain(to);
  });

  it('can all be reached, and left but for the last', () => {
    const reached = new Set(cells.filter(({ state, to }) => to !== state).map(({ to }) => to));
    expect([...STATES].filter((state) => !reached.has(state))).toEqual([]);
    const left = new Set(cells.filter(({ state, to }) => to !== state).map(({ state }) => state));
    expect([...STATES].filter((state) => !left.has(state))).toEqual(['closed']);
    expect(cells.filter(({ event, to }) => event === 'close' && to !== 'closed')).toEqual([]);
  });

  it('are as docs/client.md tables them', async () => {
    const docs = await readFile('docs/client.md', 'utf8');
    const [, table = ''] = /<!-- states -->\n\n([\s\S]*?)\n\n<!-- \/states -->/.exec(docs) ?? [];
    expect(table).toBe(tableOfStates());
  });
});

function tableOfStates(): string {
  const lines = [
    ['event', ...STATES],
    ['---', ...STATES.map(() => '---')],
  ];
  for (const event of EVENTS) {
    const row = STATES.map((state) => {
      const to = next(state, event);
      return to === state ? '' : to;
    });
    lines.push([event, ...row]);
  }
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

describe('backing off', () => {
  it('waits up to a bound that doubles, and is bounded itself', () => {
    const bounds = Array.from({ length: 9 }, (_, attempt) => backoffMs(attempt, () => 1));
    expect(bounds).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(backoffMs(2_000, () => 1)).toBe(30_000);
    expect(backoffMs(5, () => 0)).toBe(0);
  });
});

describe('numbers', () => {
  const text = (value: string) =>
    `{"type":"snapshot","id":"s","topic":"t","rows":[{"v":${value}}],"cursor":"c"}`;
  const read = (value: string) => {
    const frame = exact().parse(text(value));
    return frame.type === 'snapshot' ? frame.rows[0]?.['v'] : undefined;
  };

  it.each([
    ['7', 7],
    ['-7', -7],
    ['999999999999999', 999_999_999_999_999],
    ['9007199254740991', 9_007_199_254_740_991],
    ['9007199254740993', 9_007_199_254_740_993n],
    ['-123456789012345678901234567890', -123_456_789_012_345_678_901_234_567_890n],
    ['12.50', '12.50'],
    ['0.1234567890123456789', '0.1234567890123456789'],
    ['1e+25', '1e+25'],
    ['"12.50"', '12.50'],
    ['"a \\" 12.5 \\\\"', 'a " 12.5 \\'],
    ['[1, 2.5, {"12.5": null}]', [1, '2.5', { '12.5': null }]],
    ['true', true],
  ])('keep the digits of %s', (given, value) => {
    expect(read(given)).toEqual(value);
  });

  it('leave everything else as it is', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4, noUnicodeString: false }), (json) => {
        fc.pre(!/\d[.eE]|\d{16}|\\u0000/.test(json));
        expect(read(json)).toEqual(JSON.parse(json));
      }),
    );
  });

  it('take a text of megabytes', () => {
    const long = 'x"\\'.repeat(2_000_000);
    expect(read(JSON.stringify(long))).toBe(long);
  });

  it('are sent with their digits', () => {
    const json = exact();
    expect(json.stringify({ n: 9_007_199_254_740_993n, s: '7' })).toBe('{"n":9007199254740993,"s":"7"}');
  });

  it('tell which columns hold them as strings', () => {
    const json = exact();
    json.parse(text('12.5'));
    json.parse(text('"12.5"'));
    const compare = (column: string) => json.compare?.('9.5', '10.25', column);
    expect([compare('v'), compare('type')]).toEqual([-1, undefined]);
  });
});

describe('a token', () => {
  const now = 1_800_000_000_000;
  const leftMs = async (seconds: number) =>
    renewalMs(await tokenOf({ sub: 'ü→', exp: now / 1_000 + seconds }), now);

  it('is renewed a minute before it runs out, or after four fifths of a short time', async () => {
    expect(await leftMs(3_600)).toBe(3_540_000);
    expect(await leftMs(10)).toBe(8_000);
    expect(await leftMs(1)).toBe(1_000);
    expect(await leftMs(400 * 86_400)).toBe(2 ** 31 - 1);
  });

  it('that tells no time, or is over, is not', async () => {
    expect(await leftMs(-1)).toBeUndefined();
    expect(renewalMs('opaque', now)).toBeUndefined();
    expect(renewalMs('a.e30.c', now)).toBeUndefined();
  });
});

describe('the address', () => {
  it.each([
    ['ws://host/ws', 'ws://host/ws'],
    ['http://host', 'ws://host/ws'],
    ['https://host:8443/', 'wss://host:8443/ws'],
    ['wss://host/live/feed?x=1#y', 'wss://host/live/feed?x=1'],
  ])('%s is %s', (given, url) => {
    expect(endpointOf(given)).toBe(url);
  });
});

describe('the window', () => {
  it('tells of the network and of being looked at, until it is left alone', () => {
    const page = new EventTarget();
    const document = { hidden: false };
    const globals = {
      document,
      addEventListener: page.addEventListener.bind(page),
      removeEventListener: page.removeEventListener.bind(page),
    };
    const before = Object.keys(globals).map(
      (name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const,
    );
    for (const [name, value] of Object.entries(globals))
      Object.defineProperty(globalThis, name, { value, configurable: true });
    try {
      const told: ConnectionEvent[] = [];
      const leave = watchWindow((event) => told.push(event));
      page.dispatchEvent(new Event('offline'));
      page.dispatchEvent(new Event('online'));
      page.dispatchEvent(new Event('visibilitychange'));
      document.hidden = true;
      page.dispatchEvent(new Event('visibilitychange'));
      expect(told).toEqual(['offline', 'wake', 'wake']);
      page.dispatchEvent(new Event('offline'));
      page.dispatchEvent(new Event('online'));
      expect(told).toEqual(['offline', 'wake', 'wake', 'offline', 'wake']);
      leave();
      page.dispatchEvent(new Event('online'));
      expect(told.length).toBe(5);
    } finally {
      for (const [name, descriptor] of before) {
        Reflect.deleteProperty(globalThis, name);
        if (descriptor !== undefined) Object.defineProperty(globalThis, name, descriptor);
      }
    }
  });
});
