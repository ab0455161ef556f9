/** A model: whatever is written, and whenever the connection breaks, a collection is the table at some commit. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { compareBy } from '../src/client/order.ts';
import type { Client, Live, Row } from '../src/client.ts';
import { type Site, startSite } from './client/site.ts';
import { until } from './harness/facts.ts';

let site: Site;
beforeAll(async () => {
  site = await startSite('create table item (id int primary key, a int, b numeric)', ['item']);
});
afterAll(() => site.close());

/** Its columns in the order of jsonb. */
type Item = { a: number | null; b: number; id: number };
type Table = ReadonlyMap<number, Item>;

/** What a client follows, and what it is to see of the table. */
interface View {
  readonly topic: string;
  readonly order?: string;
  readonly limit?: number;
  readonly has?: (row: Item) => boolean;
}
const VIEWS: readonly View[] = [
  { topic: 'item' },
  { topic: 'public.item', order: 'a.desc,b' },
  { topic: 'item', order: 'b.desc', limit: 3 },
  { topic: 'item', order: 'a', limit: 30 },
  { topic: 'item?a=gte.3', order: 'a,b.desc', has: ({ a }) => a !== null && a >= 3 },
  { topic: 'item?a=gte.03', limit: 2, has: ({ a }) => a !== null && a >= 3 },
];

function seen({ order = '', limit, has = () => true }: View, table: Table): string {
  const rows = [...table.values()].filter(has).sort(compareBy(order, ['id']));
  return JSON.stringify(rows.slice(0, limit));
}

const id = fc.integer({ min: 1, max: 60 });
const row = fc.record({
  a: fc.option(fc.integer({ min: 0, max: 6 })),
  b: fc.constantFrom(0.5, 1, 2.25, 10),
  id,
});
const write = fc.oneof(
  { weight: 30, arbitrary: fc.record({ kind: fc.constant('put' as const), row }) },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('delete' as const), id }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('rekey' as const), id, to: id }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'truncate' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'empty' as const }) },
);
type Write = typeof write extends fc.Arbitrary<infer W> ? W : never;
const step = fc.oneof(
  {
    weight: 14,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      writes: fc.array(write, { minLength: 1, maxLength: 12 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'cut' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'settle' as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('come' as const), view: fc.nat(VIEWS.length - 1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('go' as const), which: fc.nat(10) }) },
);

/** Does a write to the model; gives its SQL, or none where it would do nothing. */
function carryOut(table: Map<number, Item>, one: Write): string {
  if (one.kind === 'truncate') {
    table.clear();
    return 'truncate item';
  }
  if (one.kind === 'empty') {
    table.clear();
    return 'delete from item';
  }
  if (one.kind === 'put') {
    const { a, b, id: key } = one.row;
    table.set(key, { a, b, id: key });
    return `insert into item values (${key}, ${a}, ${b}) on conflict (id) do update set a = excluded.a, b = excluded.b`;
  }
  const old = table.get(one.id);
  if (one.kind === 'delete') {
    table.delete(one.id);
    return `delete from item where id = ${one.id}`;
  }
  if (old === undefined || table.has(one.to)) return '';
  table.delete(one.id);
  table.set(one.to, { ...old, id: one.to });
  return `update item set id = ${one.to} where id = ${one.id}`;
}

/** A collection that is checked at every notification. */
class Follower {
  readonly live: Live;
  readonly #view: View;
  readonly #history: readonly Table[];
  #at: number;
  wrong: string | undefined;

  constructor(client: Client, view: View, history: readonly Table[]) {
    this.#view = view;
    this.#history = history;
    this.#at = 0;
    const { topic, ...options } = view;
    this.live = client.live(topic, { ...options });
    let before: readonly Row[] = this.live.rows;
    this.live.subscribe(() => {
      const { rows, status } = this.live;
      if (rows === before && status !== 'live') return;
      before = rows;
      const text = JSON.stringify(rows);
      const at = this.#history.findIndex((table, n) => n >= this.#at && seen(this.#view, table) === text);
      if (at >= 0) this.#at = at;
      else
        this.wrong ??= `${JSON.stringify(view)} showed ${text}, after ${seen(this.#view, this.#history[this.#at] ?? new Map())}`;
    });
  }

  isThere(): boolean {
    const last = this.#history.at(-1);
    return (
      last !== undefined &&
      this.live.status === 'live' &&
      JSON.stringify(this.live.rows) === seen(this.#view, last)
    );
  }
}

it('is the table at one commit after the other, and at the last in the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      await site.database.query('truncate item');
      const table = new Map<number, Item>();
      const history: Table[] = [new Map()];
      const client = site.client();
      const followers = VIEWS.map((view) => new Follower(client, view, history));
      const all = [...followers];
      const settled = (what: string) =>
        until(() => followers.every((one) => one.isThere() || one.wrong !== undefined), {
          timeoutMs: 15_000,
          what,
        });
      for (const one of steps) {
        if (one.kind === 'cut') site.network.cut();
        else if (one.kind === 'settle') await settled('it settles');
        else if (one.kind === 'come') {
          const follower = new Follower(client, VIEWS[one.view] ?? { topic: 'item' }, history);
          followers.push(follower);
          all.push(follower);
        } else if (one.kind === 'go') followers.splice(one.which, 1)[0]?.live.close();
        else {
          const sql = one.writes.map((each) => carryOut(table, each)).join(';');
          history.push(new Map(table));
          await site.database.query(`begin; ${sql}; commit`);
        }
      }
      await settled('it ends');
      client.close();
      expect(all.map(({ wrong }) => wrong).filter((wrong) => wrong !== undefined)).toEqual([]);
      expect(site.reported).toEqual([]);
    }),
    { numRuns: 25, endOnFailure: true },
  );
}, 240_000);
