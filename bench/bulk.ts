/** What rowcast costs one statement of many rows: its time. */
import type { Measurement, Result } from './measurement.ts';
import { clockMs, takeRounds } from './rig/clock.ts';
import { createMessages, notifyNaively, watch } from './rig/messages.ts';
import { median, medianRatio } from './rig/statistics.ts';

const TABLES = ['untouched', 'naive', 'watched'] as const;
const BULK_MS = 15_000;
const SMALL_MS = 5_000;

const STATEMENTS = {
  INSERT: (table: string) =>
    `insert into ${table} (content) select 'message number ' || i from generate_series(1, $1::int) i`,
  UPDATE: (table: string) => `update ${table} set content = content || '.' where id <= $1::int`,
} as const;

export const bulk: Measurement = {
  name: 'bulk',
  about: 'one statement of many rows, time: rowcast against a naive NOTIFY trigger',
  bound: { atMost: 1.5 },
  async run(rig) {
    const [forMs, rows] = rig.quick ? [0, 20_000] : [BULK_MS, 100_000];
    const client = await rig.client(await rig.database('bench_bulk'));
    for (const table of TABLES) await client.query(createMessages(table));
    await client.query(notifyNaively('naive'));
    await client.query(watch('watched'));

    async function timed(what: keyof typeof STATEMENTS, table: string, many: number): Promise<number> {
      const begun = clockMs();
      await client.query(STATEMENTS[what](table), [many]);
      return clockMs() - begun;
    }

    async function take(what: keyof typeof STATEMENTS, many: number, durationMs: number): Promise<Result> {
      const seen: Record<(typeof TABLES)[number], number[]> = { untouched: [], naive: [], watched: [] };
      for (const table of TABLES) await timed(what, table, many);
      await takeRounds(durationMs, async () => {
        for (const table of TABLES) seen[table].push(await timed(what, table, many));
      });
      const unit = (ms: readonly number[]) => `${median(ms).toPrecision(3)} ms`;
      return {
        case: `${what} of ${many.toLocaleString('en')} rows`,
        figures: {
          'no trigger': unit(seen.untouched),
          naive: unit(seen.naive),
          rowcast: unit(seen.watched),
        },
        value: medianRatio(seen.watched, seen.naive),
      };
    }

    const small: Result[] = [];
    for (const [what, many] of [
      ['INSERT', 100],
      ['UPDATE', 100],
      ['UPDATE', 5_000],
    ] as const) {
      small.push({ ...(await take(what, many, rig.quick ? 0 : SMALL_MS)), unbound: true });
    }
    return [await take('INSERT', rows, forMs), ...small];
  },
};
