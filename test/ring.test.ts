/** The ring against a plain list of all that was ever handed on. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Page } from '../src/commit.ts';
import { readCursor, spellCursor } from '../src/position/cursor.ts';
import { type Position, parseSnapshot, positionAt, withCommit, withReading } from '../src/position.ts';
import { createRing, type Ring } from '../src/ring.ts';
import { createAfterwards } from '../src/server/afterwards.ts';
import { createLateRing } from '../src/server/late-ring.ts';
import { Follower, History, type Known, LINES, type Transaction } from './harness/history.ts';

const spell = (position: Position) => spellCursor('s', position);

function pageOf(page: Partial<Page>, lines: number, chars: number): Page {
  const change = { relation: 1, table: 'public.t', op: 'insert', wire: 'x'.repeat(chars) } as const;
  return {
    xid: 1n,
    id: 1n,
    at: '',
    parts: 1,
    skipParts: 0,
    first: true,
    last: true,
    message: null,
    changesFollow: false,
    cursor: '',
    changes: Array.from({ length: lines }, () => change),
    ...page,
  };
}

const KINDS = [
  'begin',
  'begin',
  'fire',
  'fire',
  'commit',
  'commit',
  'hear',
  'hear',
  'read',
  'other',
  'restart',
];
const step = fc.record({ kind: fc.constantFrom(...KINDS), n: fc.nat(7), lines: fc.nat(4) });
const steps = fc.array(step, { minLength: 10, maxLength: 120 });
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A feed and a ring behind it, the list of what was handed on, and all positions that this or another feed was at. */
class Scene {
  readonly history = new History();
  readonly ring: Ring;
  readonly handedOn: { xid: bigint; parts: number }[] = [];
  readonly known: Known[] = [];
  readonly #maxBytes: number;
  #feed: Follower;
  readonly #other: Follower;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    // As in a server: pages come late, and nothing that is asked may tell.
    this.ring = createLateRing(createRing(maxBytes), createAfterwards());
    this.#feed = this.#begin();
    this.#other = new Follower(this.history);
  }

  get feed(): Known {
    return this.#feed.known;
  }

  play({ kind, n, lines }: Step): void {
    if (kind === 'begin') this.history.begin();
    else if (kind === 'fire') this.history.fire(n);
    else if (kind === 'commit') this.history.end(n, 'committed');
    else if (kind === 'hear') this.#feed.hear(n, lines === 0);
    else if (kind === 'read') this.#feed.read(n, lines);
    else if (kind === 'restart' && n === 0) this.#feed = this.#begin();
    else if (kind === 'other' && lines === 0) this.#other.read(n, 2);
    else if (kind === 'other') this.#other.hear(n, false);
    if (this.feed.partial === null) this.ring.mark(spell(this.feed.position));
    this.known.push(this.feed, this.#other.known);
  }

  #begin(): Follower {
    const feed = new Follower(this.history, (...commit) => this.#handOn(...commit));
    this.ring.restart(spell(feed.known.position));
    return feed;
  }

  /** One page for each two lines, the last with the cursor. */
  #handOn({ xid, id, parts }: Transaction, from: number, to: number, known: Known): void {
    const count = known.partial?.xid === xid ? parts : (known.parts.get(xid) ?? 1);
    // Some are larger than the ring.
    const chars = xid % 13n === 0n ? this.#maxBytes : Number(xid % 7n) * 50;
    for (let line = from; line < to; ) {
      const next = Math.min(line + 2, to);
      const ends = { first: line === 0, last: next === LINES };
      const cursor = next === to ? spell(known.position) : '';
      this.ring.add(pageOf({ xid, id, parts: count, ...ends, cursor }, next - line, chars));
      line = next;
    }
    if (to < LINES) return;
    this.handedOn.push({ xid, parts: count });
    this.known.push(known);
  }
}

describe('the ring', () => {
  it('gives exactly what a position lacks of what was handed on, or says that it cannot', () => {
    const count = { nothing: 0, exact: 0, others: 0, met: 0 };
    fc.assert(
      fc.property(steps, fc.integer({ min: 3_000, max: 20_000 }), (all, maxBytes) => {
        const scene = new Scene(maxBytes);
        for (const one of all) scene.play(one);
        if (scene.feed.partial !== null) return;
        for (const { position, parts } of scene.known) {
          const missing = scene.ring.missing(spell(position), position);
          if (missing === null) {
            count.nothing++;
            continue;
          }
          count[missing.exact ? 'exact' : 'others']++;
          const had = (xid: bigint) => parts.get(xid) ?? 0;
          const got = missing.commits.map(({ xid, parts: of }) => ({ xid, parts: of }));
          // In order, and nothing that it has.
          let at = 0;
          for (const one of got) {
            expect(had(one.xid)).toBeLessThan(one.parts);
            at =
              scene.handedOn.findIndex((h, n) => n >= at && h.xid === one.xid && h.parts === one.parts) + 1;
            expect(at).toBeGreaterThan(0);
          }
          // Nothing is left out.
          const after = new Map([...parts, ...got.map(({ xid, parts: of }) => [xid, of] as const)]);
          for (const [xid, of] of scene.feed.parts) {
            expect([xid, after.get(xid) ?? 0]).toEqual([xid, Math.max(of, had(xid))]);
          }
          for (const { pages } of missing.commits) {
            expect(pages.at(-1)?.last).toBe(true);
            expect(pages[0]?.first === true || pages.length < 2).toBe(true);
          }
          if (missing.exactFrom === null) continue;
          count.met += missing.exact ? 0 : 1;
          // What the cursors of the pages say holds for whoever goes on from here.
          const has = new Map(parts);
          for (const [n, { xid, parts: of, pages }] of missing.commits.entries()) {
            has.set(xid, of);
            if (n < missing.exactFrom) continue;
            const said = readCursor(pages.at(-1)?.cursor ?? '').position;
            const same = scene.known.find(({ position: p }) => spell(p) === spell(said));
            expect(same?.parts).toEqual(has);
          }
        }
      }),
      { numRuns: 300 },
    );
    expect(Math.min(...Object.values(count))).toBeGreaterThan(300);
  });

  it('stays within its bytes, and within reach as long as they allow', () => {
    const ring = createRing(100_000);
    const start = positionAt(parseSnapshot('10:10:', 1n));
    ring.restart(spell(start));
    let position = start;
    const cursors = [spell(start)];
    for (let xid = 10n; xid < 1_000n; xid++) {
      position = withCommit(position, xid);
      cursors.push(spell(position));
      ring.add(pageOf({ xid, id: xid, cursor: spell(position) }, 1, 1_000));
      expect(ring.bytes).toBeLessThan(105_000);
    }
    expect(ring.missing(cursors[0] ?? '', start)).toBeNull();
    const back = (n: number) => ring.missing(cursors.at(-1 - n) ?? '', position);
    expect(back(0)).toEqual({ commits: [], exact: true, exactFrom: 0 });
    expect(back(50)?.commits.map(({ xid }) => xid)).toEqual(
      Array.from({ length: 50 }, (_, n) => 950n + BigInt(n)),
    );
    expect(ring.bytes).toBeGreaterThan(90_000);
  });

  it('that is spelled anew again and again, without a commit, does not grow', () => {
    const ring = createRing(100_000);
    ring.restart('s.1_1_1_.');
    for (let at = 0; at < 10_000; at++) ring.mark(spell(positionAt(parseSnapshot('37:38:', BigInt(at)))));
    expect(ring.bytes).toBeLessThan(30_000);
    const latest = positionAt(parseSnapshot('37:38:', 9_999n));
    expect(ring.missing(spell(latest), latest)).toEqual({ commits: [], exact: true, exactFrom: 0 });
  });

  it('knows each of its own cursors, also within what was read, as far as it reaches back', () => {
    const ring = createRing(100_000);
    const start = positionAt(parseSnapshot('10:10:', 1n));
    const seen = parseSnapshot('2000:2000:', 2n);
    const read: Position[] = [];
    ring.restart(spell(start));
    for (let id = 10n; id < 1_000n; id++) {
      const position = withReading(start, { snapshot: seen, id });
      read.push(position);
      ring.add(pageOf({ xid: id, id, cursor: spell(position) }, 1, 500));
    }
    ring.mark(spell(positionAt(seen)));
    const reach = read.findLastIndex((position) => ring.missing(spell(position), position) === null);
    expect(reach).toBeGreaterThan(800);
    for (const [n, position] of read.entries()) {
      if (n <= reach) continue;
      const missing = ring.missing(spell(position), position);
      expect(missing?.commits.map(({ id }) => id)).toEqual(
        read.slice(n + 1).map(({ readings: [at] }) => at?.id),
      );
      expect(missing).toMatchObject({ exact: true, exactFrom: 0 });
    }
    // One that another instance was at.
    const other = withReading(start, { snapshot: parseSnapshot('2001:2001:', 2n), id: 990n });
    expect(ring.missing(spell(other), other)?.exact).toBe(false);
  });

  it('knows where its cursors hold for a position of another instance, also in what was read', () => {
    const ring = createRing(10_000_000);
    const start = positionAt(parseSnapshot('10:10:', 1n));
    const seen = parseSnapshot('1000:1000:', 2n);
    ring.restart(spell(start));
    for (let xid = 10n; xid < 1_000n; xid++) {
      const cursor = spell(withReading(start, { snapshot: seen, id: xid }));
      ring.add(pageOf({ xid, id: xid, cursor }, 1, 10));
    }
    ring.mark(spell(positionAt(seen)));
    // 497 and 499 were open then.
    const position = positionAt(parseSnapshot('497:500:497,499', 1n));
    const missing = ring.missing('of another', position);
    expect(missing?.commits.map(({ xid }) => xid)).toEqual([
      497n,
      499n,
      ...Array.from({ length: 500 }, (_, n) => 500n + BigInt(n)),
    ]);
    expect(missing?.exactFrom).toBe(1);
  });

  it('cannot tell what a position lacks that has one of the parts of a commit', () => {
    const ring = createRing(100_000);
    const start = positionAt(parseSnapshot('10:10:', 1n));
    ring.restart(spell(start));
    ring.add(pageOf({ xid: 10n, parts: 2, cursor: spell(withCommit(start, 10n, 2)) }, 2, 10));
    ring.add(pageOf({ xid: 11n, cursor: spell(withCommit(withCommit(start, 10n, 2), 11n)) }, 1, 10));
    const other = positionAt(parseSnapshot('10:10:', 2n));
    expect(ring.missing(spell(other), other)?.commits).toHaveLength(2);
    const torn = withCommit(other, 10n, 1);
    expect(ring.missing(spell(torn), torn)).toBeNull();
  });

  it('begins anew after a commit that is larger than itself', () => {
    const ring = createRing(10_000);
    const start = positionAt(parseSnapshot('10:10:', 1n));
    ring.restart(spell(start));
    const large = withCommit(start, 10n);
    for (let n = 0; n < 20; n++) {
      const ends = { first: n === 0, last: n === 19 };
      ring.add(pageOf({ xid: 10n, id: 1n, ...ends, cursor: n === 19 ? spell(large) : 'p' }, 1, 1_000));
      expect(ring.bytes).toBeLessThan(13_000);
    }
    expect(ring.missing(spell(start), start)).toBeNull();
    expect(ring.missing(spell(large), large)).toEqual({ commits: [], exact: true, exactFrom: 0 });
    const next = withCommit(large, 11n);
    ring.add(pageOf({ xid: 11n, id: 2n, cursor: spell(next) }, 1, 10));
    expect(ring.missing(spell(large), large)?.commits.map(({ xid }) => xid)).toEqual([11n]);
    // Another feed's way to the same place: found by what it has, not by its spelling.
    const other = positionAt(parseSnapshot('11:11:', 5n));
    expect(ring.missing(spell(other), other)).toMatchObject({ exact: false, commits: [{ xid: 11n }] });
  });

  it('serves nothing before it has begun', () => {
    const ring = createRing(10_000);
    const position = positionAt(parseSnapshot('10:10:', 1n));
    ring.add(pageOf({ xid: 10n, cursor: 'c' }, 1, 10));
    expect(ring.missing(spell(position), position)).toBeNull();
    expect(ring.bytes).toBe(0);
  });
});
