/** What rowcast costs one statement that inserts many rows: its time. */
import type { Measurement } from './measurement.ts';
import { clockMs, takeRounds } from './rig/clock.ts';
import { createMessages, notifyNaively, watch } from './rig/messages.ts';
import { median, medianRatio } from './rig/statistics.ts';

const TABLES = ['untouched', 'naive', 'watched'] as const;
const BULK_MS = 15_000;

export const bulk: Measurement = {
  name: 'bulk',
  about: 'one INSERT of many rows, time: rowcast against a naive NOTIFY trigger',
  bound: { atMost: 1.5 },
  async run(rig) {
    const [forMs, rows] = rig.quick ? [0, 20_000] : [BULK_MS, 100_000];
    const client = await rig.client(await rig.database('bench_bulk'));
    for (const table of TABLES) await client.query(createMessages(table));
    await client.query(notifyNaively('naive'));
    await client.query(watch('watched'));

    async function insert(table: string): Promise<number> {
      const begun = clockMs();
      const text = `insert into ${table} (content) select 'message number ' || i from generate_series(1, $1::int) i`;
      await client.query(text, [rows]);
      return clockMs() - begun;
    }

    const seen: Record<(typeof TABLES)[number], number[]> = { untouched: [], naive: [], watched: [] };
    for (const table of TABLES) await insert(table);
    await takeRounds(forMs, async () => {
      for (const table of TABLES) seen[table].push(await insert(table));
    });
    return [
      {
        case: `INSERT of ${rows.toLocaleString('en')} rows`,
        figures: {
          'no trigger': `${median(seen.untouched).toFixed(0)} ms`,
          naive: `${median(seen.naive).toFixed(0)} ms`,
          rowcast: `${median(seen.watched).toFixed(0)} ms`,
        },
        value: medianRatio(seen.watched, seen.naive),
      },
    ];
  },
};
