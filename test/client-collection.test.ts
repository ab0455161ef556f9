/** The ordered collection on its own, against what a plain sort of a plain table gives. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type Collection, type CollectionOptions, createCollection } from '../src/client/collection.ts';
import { exact } from '../src/client/exact.ts';
import { compareBy, compareValues } from '../src/client/order.ts';
import type { Change, Row } from '../src/client.ts';

type Item = { id: number; a: number | null; b: string | null };
const order = fc.constantFrom(
  '',
  'a',
  'a.desc',
  'b.asc.nullsfirst,a.desc',
  'a.desc.nullslast,b.desc',
  'id.desc',
);
const value = {
  a: fc.option(fc.integer({ min: 0, max: 5 })),
  b: fc.option(fc.constantFrom('x', 'y', 'ß', '😀', '')),
};
const write = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      id: fc.integer({ min: 0, max: 40 }),
      ...value,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('delete' as const), id: fc.integer({ min: 0, max: 40 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate' as const) }) },
);
type Write = { kind: 'truncate' } | { kind: 'delete'; id: number } | ({ kind: 'put' } & Item);

/** Carries out a write, and tells what the service would say of it. */
function carryOut(table: Map<number, Item>, one: Write): Change[] {
  if (one.kind === 'truncate') {
    table.clear();
    return [{ op: 'truncate', table: 't' }];
  }
  const key = { id: one.id };
  const old = table.get(one.id);
  if (one.kind === 'delete') {
    table.delete(one.id);
    return old ? [{ op: 'delete', table: 't', key, old }] : [];
  }
  const row = { id: one.id, a: one.a, b: one.b };
  table.set(one.id, row);
  const change = { table: 't', key, new: { ...row } };
  return [old ? { op: 'update', ...change, old } : { op: 'insert', ...change }];
}

function sorted(table: Map<number, Item>, by: string, limit = Number.POSITIVE_INFINITY): Item[] {
  return [...table.values()].sort(compareBy(by, ['id'])).slice(0, limit);
}

/** Begins it with what the service would answer. */
function begin(collection: Collection<Row>, table: Map<number, Item>, by: string): void {
  const { limit } = collection.wanted;
  const rows = sorted(table, by, limit).map((row) => ({ ...row }));
  collection.begin({ rows, complete: limit === undefined || rows.length < limit });
}

describe('a collection', () => {
  it('is the sorted table after every transaction, and keeps the objects of rows that did not change', () => {
    const limit = fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined });
    const transactions = fc.array(fc.array(write, { minLength: 1, maxLength: 30 }), { maxLength: 30 });
    const given = fc.constantFrom(undefined, ['id']);
    fc.assert(
      fc.property(
        order,
        limit,
        given,
        fc.array(write, { maxLength: 60 }),
        transactions,
        (by, most, key, first, all) => {
          const table = new Map<number, Item>();
          for (const one of first) carryOut(table, one);
          const options: CollectionOptions = { order: by, limit: most, key };
          const collection = createCollection(options);
          begin(collection, table, by);
          collection.show();
          for (const transaction of all) {
            const before = new Map(collection.rows.map((row) => [row['id'], row]));
            const wasShown = collection.rows;
            const changes = transaction.flatMap((one) => carryOut(table, one));
            collection.apply(changes);
            const told = collection.show();
            if (collection.isLow) {
              begin(collection, table, by);
              collection.show();
            }
            expect(collection.rows).toEqual(sorted(table, by, most));
            if (!told && changes.length === 0) expect(collection.rows).toBe(wasShown);
            const touched = new Set(
              changes.map((change) => ('key' in change ? change.key['id'] : undefined)),
            );
            if (touched.has(undefined)) continue;
            for (const row of collection.rows) {
              const old = before.get(row['id']);
              if (old !== undefined && !touched.has(row['id'])) expect(row).toBe(old);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('is right again where changes are replayed that its rows hold already', () => {
    fc.assert(
      fc.property(
        order,
        fc.array(write, { maxLength: 60 }),
        fc.nat({ max: 60 }),
        fc.boolean(),
        (by, all, at, limited) => {
          const table = new Map<number, Item>();
          const changes: Change[][] = [];
          const collection = createCollection({ order: by, limit: limited ? 3 : undefined });
          let hasBegun = false;
          all.forEach((one, n) => {
            if (n === at) {
              begin(collection, table, by);
              hasBegun = true;
            }
            changes.push(carryOut(table, one));
          });
          if (!hasBegun) begin(collection, table, by);
          for (const transaction of changes) collection.apply(transaction);
          if (collection.isLow) begin(collection, table, by);
          collection.show();
          expect(collection.rows).toEqual(sorted(table, by, limited ? 3 : undefined));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('shows nothing new while it lacks rows of its window', () => {
    const rows = Array.from({ length: 100 }, (_, id) => ({ id }));
    const collection = createCollection({ limit: 10 });
    const { limit = 0 } = collection.wanted;
    collection.begin({ rows: rows.slice(0, limit), complete: false });
    collection.show();
    const deleted = rows
      .slice(0, limit - 9)
      .map((row): Change => ({ op: 'delete', table: 't', key: row, old: row }));
    collection.apply(deleted);
    expect(collection.isLow).toBe(true);
    expect(collection.show()).toBe(false);
    expect(collection.rows).toEqual(rows.slice(0, 10));
    collection.begin({ rows: rows.slice(limit - 9, 2 * limit - 9), complete: false });
    expect(collection.show()).toBe(true);
    expect(collection.rows).toEqual(rows.slice(limit - 9, limit + 1));
  });

  it('swaps equal rows for themselves', () => {
    const collection = createCollection({});
    const rows = () => [
      { id: 1, n: { deep: [1] } },
      { id: 2, n: null },
    ];
    collection.begin({ rows: rows(), complete: true });
    collection.show();
    const { rows: before } = collection;
    collection.begin({ rows: rows(), complete: true });
    expect(collection.show()).toBe(false);
    expect(collection.rows).toBe(before);
    collection.begin({ rows: [...rows(), { id: 3, n: null }], complete: true });
    expect(collection.show()).toBe(true);
    expect(collection.rows[1]).toBe(before[1]);
  });

  it('takes rows that enter and leave, and keys that change', () => {
    const collection = createCollection({});
    collection.begin({ rows: [{ id: 1, v: 1 }], complete: true });
    collection.apply([
      { op: 'update', table: 't', key: { id: 2 }, new: { id: 2, v: 1 }, old: { v: 0 }, effect: 'enter' },
      { op: 'update', table: 't', key: { id: 1 }, effect: 'leave' },
    ]);
    collection.show();
    expect(collection.rows).toEqual([{ id: 2, v: 1 }]);
    collection.apply([
      { op: 'delete', table: 't', key: { id: 2 }, old: { id: 2, v: 1 } },
      { op: 'insert', table: 't', key: { id: 7 }, new: { id: 7, v: 1 } },
    ]);
    collection.show();
    expect(collection.rows).toEqual([{ id: 7, v: 1 }]);
  });

  it('takes a hundred transactions on ten thousand rows in a few milliseconds each', () => {
    const rows = Array.from({ length: 10_000 }, (_, id) => ({ id, name: `row ${(id * 7919) % 10_000}` }));
    const collection = createCollection<Row>({ order: 'name.desc' });
    collection.begin({ rows, complete: true });
    collection.show();
    const before = performance.now();
    for (let n = 0; n < 100; n++) {
      const row = { id: n * 97, name: `new ${n}` };
      collection.apply([{ op: 'update', table: 't', key: { id: row.id }, new: row, old: {} }]);
      expect(collection.show()).toBe(true);
    }
    expect((performance.now() - before) / 100).toBeLessThan(5);
  });
});

describe('values', () => {
  it('are ordered as PostgreSQL orders them', () => {
    const ascending: unknown[][] = [
      [-1, 0, 9, 10, 9007199254740993n, 9007199254740994n, 'Infinity', 'NaN'],
      [false, true],
      ['', 'A', 'Z', 'a', 'aa', 'ä', '\uffff', '😀'],
      ['2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00.5+00:00', '2026-01-01T00:00:01+00:00'],
    ];
    for (const values of ascending) {
      for (const [i, a] of values.entries())
        for (const [j, b] of values.entries())
          expect([a, b, Math.sign(compareValues(a, b, exact()))]).toEqual([a, b, Math.sign(i - j)]);
    }
    const doubles = [-1, 0, 0.5, 9, 'Infinity', 'NaN'];
    for (const [i, a] of doubles.entries())
      for (const [j, b] of doubles.entries())
        expect([a, b, Math.sign(compareValues(a, b))]).toEqual([a, b, Math.sign(i - j)]);
    const numbers = exact();
    numbers.parse('{"v":0.5}');
    const numeric = [
      '-12.5',
      '-0.1',
      '0.10',
      '0.123456789012345678901',
      '0.123456789012345678902',
      '9.5',
      '10.25',
    ];
    for (const [i, a] of numeric.entries())
      for (const [j, b] of numeric.entries())
        expect(Math.sign(compareValues(a, b, numbers, 'v'))).toBe(Math.sign(i - j));
    expect(compareValues('0.1', '0.10', numbers, 'v')).toBe(0);
    expect(compareValues(7, '7.00', numbers, 'v')).toBe(0);
  });

  it('name what is wrong with an order', () => {
    expect(() => createCollection({ order: 'a%' })).toThrow(/URI/);
  });
});
