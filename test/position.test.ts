/** Positions against a model that knows each transaction, and cursors, well made and not. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { isInRead, readCursor, spellCursor } from '../src/position/cursor.ts';
import {
  contains,
  includes,
  isPruned,
  leastOf,
  type Position,
  parseSnapshot,
  partsIn,
  positionAt,
  spellSnapshot,
  withCommit,
  withPartial,
  withReading,
} from '../src/position.ts';
import { ProtocolError } from '../src/protocol.ts';
import { Follower, History, type Known } from './harness/history.ts';

const KINDS = ['begin', 'begin', 'fire', 'fire', 'commit', 'commit', 'roll back', 'hear', 'hear', 'read'];
const step = fc.record({
  kind: fc.constantFrom(...KINDS),
  n: fc.nat(7),
  follower: fc.nat(1),
  lines: fc.nat(4),
});
const steps = fc.array(step, { minLength: 10, maxLength: 80 });
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Moment {
  known: Known;
  /** What was committed then. */
  committed: ReadonlySet<bigint>;
}

/** Plays the steps; gives the history, and every position that the two followers were at. */
function play(all: readonly Step[]): { history: History; moments: Moment[] } {
  const history = new History();
  const followers = [new Follower(history), new Follower(history)];
  const moments: Moment[] = [];
  for (const { kind, n, follower, lines } of all) {
    const one = followers[follower];
    if (kind === 'begin') history.begin();
    else if (kind === 'fire') history.fire(n);
    else if (kind === 'commit') history.end(n, 'committed');
    else if (kind === 'roll back') history.end(n, 'rolled back');
    else if (kind === 'hear') one?.hear(n, lines === 0);
    else one?.read(n, lines);
    const committed = new Set(history.committed().map(({ xid }) => xid));
    for (const { known } of followers) moments.push({ known, committed });
  }
  return { history, moments };
}

const parts = ({ parts: of }: Known, xid: bigint) => of.get(xid) ?? 0;

describe('a position', () => {
  it('has exactly the commits that were handed on', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const { history, moments } = play(all);
        for (const { known, committed } of moments) {
          for (const one of history.transactions) {
            if (one.state === 'rolled back' || (one.state === 'committed' && one.parts === 0)) continue;
            const wanted = committed.has(one.xid) ? parts(known, one.xid) : 0;
            const got = Math.min(partsIn(known.position, one.xid, one.id), one.parts);
            expect([one.xid, got]).toEqual([one.xid, wanted]);
            expect(includes(known.position, one.xid, one.id)).toBe(wanted > 0);
            // Without its id it may seem to be missing, and never the other way.
            expect(partsIn(known.position, one.xid) > 0 && wanted === 0).toBe(false);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it('contains another only where it does, and what any read comes to contains all before', () => {
    let yes = 0;
    fc.assert(
      fc.property(steps, (all) => {
        const { history, moments } = play(all);
        const latest = positionAt(history.snapshot());
        for (const { known: inner } of moments) {
          expect(contains(latest, inner.position)).toBe(true);
          for (const { known: outer } of moments) {
            if (!contains(outer.position, inner.position)) continue;
            yes++;
            for (const [xid, count] of inner.parts) {
              expect(parts(outer, xid)).toBeGreaterThanOrEqual(count);
            }
            if (inner.partial !== null) {
              const one = history.committed().find(({ xid }) => xid === inner.partial?.xid);
              expect(parts(outer, inner.partial.xid)).toBe(one?.parts);
            }
          }
        }
      }),
      { numRuns: 200 },
    );
    expect(yes).toBeGreaterThan(10_000);
  });

  it('contains itself while nothing is half done', () => {
    const position = withCommit(positionAt(parseSnapshot('10:20:10,13', 1n)), 13n);
    expect(contains(position, position)).toBe(true);
    expect(contains(withCommit(position, 25n), position)).toBe(true);
    expect(contains(position, withCommit(position, 25n))).toBe(false);
  });

  it('does not contain the whole of what it has the first part of', () => {
    const outer = withCommit(positionAt(parseSnapshot('10:20:10', 1n)), 10n, 1);
    expect(contains(outer, positionAt(parseSnapshot('20:20:', 2n)))).toBe(false);
    expect(contains(outer, withCommit(outer, 10n, 2))).toBe(false);
    expect(contains(withCommit(outer, 10n, 2), outer)).toBe(true);
    expect(contains(outer, withPartial(outer, { xid: 10n, lines: 5 }))).toBe(false);
  });

  it('does not contain what a read saw that went by a later snapshot', () => {
    const base = positionAt(parseSnapshot('5:10:5,8', 1n));
    const readTo = (snapshot: string) =>
      withReading(base, { snapshot: parseSnapshot(snapshot, 2n), id: 50n });
    expect(contains(readTo('8:30:8,20'), readTo('8:30:8'))).toBe(false);
    expect(contains(readTo('8:30:8'), readTo('8:30:8,20'))).toBe(true);
    expect(
      contains(withReading(base, { snapshot: parseSnapshot('8:30:8', 2n), id: 49n }), readTo('8:30:8')),
    ).toBe(false);
  });

  it('that is the least of several has what each of them has, and no more', () => {
    fc.assert(
      fc.property(steps, fc.array(fc.nat(200), { minLength: 1, maxLength: 3 }), (all, choice) => {
        const { history, moments } = play(all);
        // Late ones: early ones have hardly anything.
        const chosen = choice.flatMap((n) => moments.at(-1 - (n % (moments.length >> 1)))?.known ?? []);
        const least = leastOf(chosen.map(({ position }) => position));
        for (const { xid, id, parts: count } of history.committed()) {
          if (!includes(least, xid, id)) continue;
          for (const known of chosen) expect([xid, parts(known, xid)]).toEqual([xid, count]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is pruned wherever something that it lacks was removed', () => {
    fc.assert(
      fc.property(steps, steps, fc.nat(80), (before, after, cut) => {
        const { history, moments } = play([...before, ...after]);
        const removed = history.committed().filter((_, n) => n <= cut % 10);
        const prunedXid = removed.reduce((newest, { xid }) => (xid > newest ? xid : newest), 0n);
        const now = history.snapshot();
        for (const { known } of moments) {
          const lacks = removed.some(({ xid }) => parts(known, xid) === 0);
          if (lacks) expect(isPruned(known.position, prunedXid, now)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is not pruned for a transaction that is open still, however old', () => {
    const position = positionAt(parseSnapshot('10:5000:10', 1n));
    expect(isPruned(position, 4000n, parseSnapshot('10:6000:10,5500', 2n))).toBe(false);
    expect(isPruned(position, 4000n, parseSnapshot('5500:6000:5500', 2n))).toBe(true);
    expect(isPruned(withCommit(position, 10n), 4000n, parseSnapshot('6000:6000:', 2n))).toBe(false);
    expect(isPruned(position, 5000n, parseSnapshot('10:6000:10', 2n))).toBe(true);
  });
});

describe('a snapshot', () => {
  it('is spelled as PostgreSQL spells it', () => {
    for (const text of ['1:1:', '10:20:10,14,15', '18446744073709551000:18446744073709551001:']) {
      expect(spellSnapshot(parseSnapshot(text, 0n))).toBe(text);
    }
    expect(() => parseSnapshot('10', 0n)).toThrow('no snapshot');
  });
});

/** Whatever holds what was delivered. */
const comparable = ({ delivered, ...others }: Position) => ({ ...others, delivered: new Map(delivered) });

describe('what was delivered', () => {
  it('is the same in each position, whatever was made of it since, and so is its cursor', () => {
    const made = fc.array(
      fc.record({ of: fc.nat(5), xid: fc.bigInt(10n, 40n), parts: fc.integer({ min: 1, max: 2 }) }),
    );
    fc.assert(
      fc.property(made, (all) => {
        const base = positionAt(parseSnapshot('10:10:', 1n));
        const positions = [{ position: base, delivered: new Map<bigint, number>() }];
        for (const { of, xid, parts: count } of all) {
          // Mostly of the newest.
          const from = positions.at(-1 - (of % positions.length)) ?? positions[0];
          if (from === undefined) continue;
          const position = withCommit(from.position, xid, count);
          spellCursor('ab12', position);
          positions.push({ position, delivered: new Map([...from.delivered, [xid, count]]) });
        }
        for (const { position, delivered } of positions) {
          expect(comparable(position).delivered).toEqual(delivered);
          for (let xid = 10n; xid <= 40n; xid++) expect(partsIn(position, xid)).toBe(delivered.get(xid) ?? 0);
          expect(spellCursor('ab12', position)).toBe(spellCursor('ab12', { ...base, delivered }));
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a cursor', () => {
  it('gives the position that it was made of', () => {
    fc.assert(
      fc.property(steps, (all) => {
        for (const { known } of play(all).moments) {
          const cursor = spellCursor('ab12', known.position);
          expect(isInRead(cursor)).toBe(known.position.readings.length > 0);
          const { position, ...read } = readCursor(cursor);
          expect({ ...read, ...comparable(position) }).toEqual({
            stream: 'ab12',
            ...comparable(known.position),
          });
        }
      }),
      { numRuns: 200 },
    );
  });

  it('says whether it is within a read, whatever digits it has', () => {
    const snapshot = parseSnapshot('27:27:', 27n);
    const delivered = new Map([[54n, 1]]);
    const position: Position = { ...positionAt(snapshot), delivered };
    expect(spellCursor('r1', position)).toBe('r1.r_0_r_.r');
    expect(isInRead(spellCursor('r1', position))).toBe(false);
    expect(isInRead(spellCursor('r1', positionAt(snapshot)))).toBe(false);
    expect(isInRead(spellCursor('r1', withReading(position, { snapshot, id: 27n })))).toBe(true);
  });

  it('is short where many commits came in a row', () => {
    const snapshot = parseSnapshot('900000000000:900000000000:', 1_800_000_000_000_000n);
    const delivered = new Map(Array.from({ length: 100_000 }, (_, n) => [900_000_000_000n + BigInt(n), 1]));
    const position: Position = { ...positionAt(snapshot), delivered };
    const cursor = spellCursor('ab12', position);
    expect(cursor.length).toBeLessThan(60);
    expect(readCursor(cursor).position.delivered.size).toBe(100_000);
  });

  const BAD: readonly string[] = [
    '',
    '.',
    '..',
    'ab',
    'ab.1_1_1_',
    'AB.1_1_1_.',
    'ab.1_1_1.',
    'ab.1_1_.',
    'ab.1__1_.',
    'ab.-1_1_1_.',
    'ab.1_1_1_.x!',
    'ab.1_1_1_.1-',
    'ab.1_1_1_.1~',
    'ab.1_1_1_.1**2',
    'ab.1_1_1_..q1_1',
    'ab.1_1_1_..p1',
    'ab.1_1_1_..p1_',
    'ab.1_1_1_..r_1_1_1_',
    'ab.1_1_1_..r1_1_1',
    'ab.ü_1_1_.',
    // More than there is.
    'ab.1_1_1_.0-zzzzzz',
    'ab.1_1_1_0-zzzzzz.',
    'ab.1_1_1_.0-255t',
    'ab.zzzzzzzzzzzzz_0_1_.',
    'ab.1_zzzzzzzzzzzzz_1_.',
    'ab.1_1_1_.zzzzzzzzzzzzz',
    'ab.1_1_1_zzzzzzzzzzzzz.',
    'ab.1_1_zzzzzzzzzzzzz_.',
    'ab.1_1_1_..pzzzzzzzzzzzzz_1',
    'ab.1_1_1_..p1_zzzzzzzzzzzzz',
    'ab.1_1_1_..rzzzzzzzzzzzzz_1_1_1_',
    `ab.${'1'.repeat(60_000)}_1_1_.`,
    `ab.1_1_1_.${'3w5e11264sgsf~'.repeat(40)}1`,
    `ab.1_1_1_.${'0~'.repeat(30_000)}`,
  ];
  it.each(BAD.map((cursor) => [cursor.slice(0, 40), cursor]))('%s is none', (_, cursor) => {
    const begun = performance.now();
    expect(() => readCursor(cursor)).toThrow(expect.objectContaining({ code: 'bad_cursor' }));
    expect(performance.now() - begun).toBeLessThan(500);
  });

  it('costs no more than its length allows, however often it says much', () => {
    const much = '0-255s';
    for (const cursor of [
      `ab.1_1_1_.${Array.from({ length: 4_000 }, () => `.r1_1_1_1_${much}`).join('')}`,
      `ab.1_1_1_${much}.${much}`,
      `ab.1_1_1_.${Array.from({ length: 5_000 }, () => '.r1_1_1_1_').join('')}`,
      `ab.1_1_1_.${Array.from({ length: 5_000 }, () => '.p1_1').join('')}`,
    ]) {
      const begun = performance.now();
      expect(() => readCursor(cursor)).toThrow(expect.objectContaining({ code: 'bad_cursor' }));
      expect(performance.now() - begun).toBeLessThan(500);
    }
  });

  it('that somebody bent gives a position or bad_cursor, and nothing else', () => {
    const pieces = fc.constantFrom(...'0123456789abcz_.~-*rp', '_1_', '..', '.r', '.p');
    const bent = fc.array(pieces, { maxLength: 40 }).map((all) => `ab.${all.join('')}`);
    fc.assert(
      fc.property(fc.oneof(bent, fc.string({ maxLength: 60 })), (cursor) => {
        try {
          const { position } = readCursor(cursor);
          partsIn(position, 5n, 5n);
          contains(position, position);
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
          expect(error.code).toBe('bad_cursor');
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
