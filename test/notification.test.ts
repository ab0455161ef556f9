/** What is read of a notification: its header, and the lines after it. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { readLines } from '../src/commit.ts';
import { readNotification } from '../src/feed/notification.ts';
import type { Observation } from '../src/observation.ts';

/** The rule, as one expression. */
const HEADER = /^(\d+)(?:$| (\d+) "([^"\n]+)"\n)/;

describe('a notification', () => {
  it('is read as the rule says, or told of as malformed', () => {
    const piece = fc.oneof(
      fc.constantFrom('1', '42', '18446744073709551615', ' ', '"', '\n', '1 i 16390 public.t\t"key":{}\n'),
      fc.constantFrom(
        '"2026-11-24T08:05:03.000001+00:00"\n',
        '7 3 "2026-11-24T08:05:03+00:00"\n',
        'ring',
        '-',
        '/',
        ':',
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const payload = pieces.join('');
        const observed: Observation[] = [];
        const read = readNotification(payload, (seen) => observed.push(seen));
        const [header = '', xid, id, at] = HEADER.exec(payload) ?? [];
        expect(observed.length).toBe(xid === undefined ? 1 : 0);
        if (xid === undefined) expect(read).toBeNull();
        else if (id === undefined) expect(read).toEqual({ xid: BigInt(xid), id: 0n, at: '', body: null });
        else
          expect(read).toEqual({ xid: BigInt(xid), id: BigInt(id), at, body: payload.slice(header.length) });
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('the lines of a commit', () => {
  const INSERT = 'i 16390 public.t\t"key":{"id":1}';
  const change = (op: string, rest: string, table = 'public.t') => ({
    relation: 16_390,
    table,
    op,
    wire: `{"op":"${op}","table":"${table}"${rest}}`,
  });

  it('come in the order of their tickets, whatever table the one before was of', () => {
    const body = `3 t 16390 public.t\t\n1 ${INSERT}\n2 d 16390 public.t\t"key":{"id":2}\n`;
    const { lines, changes, watchingChanged, announced } = readLines(body);
    expect(lines).toEqual([
      change('insert', ',"key":{"id":1}'),
      change('delete', ',"key":{"id":2}'),
      change('truncate', ''),
    ]);
    expect(changes).toBe(lines);
    expect([watchingChanged, announced]).toEqual([false, []]);
    expect(readLines(`1 ${INSERT}\n`).lines).toEqual([change('insert', ',"key":{"id":1}')]);
    expect(readLines('1 i 16390 public.t2\t"key":{}\n').lines).toEqual([
      change('insert', ',"key":{}', 'public.t2'),
    ]);
  });

  it('say what else there is, and are no changes alone where messages are among them', () => {
    const body = `1 ${INSERT}\n3 m 0 "lobby"\t"event":"e"\n2 ${INSERT}\n4 w 16390 public.t\t\n5 k 0 x\t{"a":1}\n`;
    const { lines, changes, watchingChanged, announced } = readLines(body);
    expect(lines.map(({ op }) => op)).toEqual(['insert', 'insert', 'message']);
    expect([changes, watchingChanged, announced]).toEqual([null, true, ['{"a":1}']]);
  });

  it.each([`1 ${INSERT}`, '1\n', '1 i 16390 public.t\n', 'x\n1 i 16390 public.t\t\n', '1 ? 1 t\t\n'])(
    'are refused where they are none: %j',
    (body) => {
      readLines(`1 ${INSERT}\n`);
      expect(() => readLines(body)).toThrow(/^a line of the log/);
    },
  );
});
