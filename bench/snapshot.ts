/** What other clients feel of one that takes snapshots of a large table, while commits go on. */
import type { Measurement } from './measurement.ts';
import { clockMs, pace, takeRounds } from './rig/clock.ts';
import { createMessages, watch } from './rig/messages.ts';
import { median, medianRatio } from './rig/statistics.ts';

const ROWS = 100_000;
const CLIENTS = 50;
const COMMITS_PER_SECOND = 500;
const WRITERS = 4;
const HALF_MS = 2000;
const ROUNDS_MS = 14_000;

export const snapshot: Measurement = {
  name: 'snapshot',
  about:
    'commit to client, median: with snapshots of 100,000 rows back to back by another client, and without',
  bound: { atMost: 2 },
  async run(rig) {
    const url = await rig.database('bench_snapshot');
    const writers = await Promise.all(Array.from({ length: WRITERS }, () => rig.client(url)));
    // Else the disk sets the rate, and hides what else a commit waits for.
    for (const writer of writers) await writer.query('set synchronous_commit = off');
    const [writer] = writers;
    if (writer === undefined) throw new Error('there is no writer');
    await writer.query(createMessages('messages'));
    await writer.query(
      `insert into messages (room_id, content)
       select i % ${CLIENTS}, 'hello world, this is a message' from generate_series(1, ${ROWS}) i`,
    );
    await writer.query('analyze messages');
    await writer.query(watch('messages'));
    const { port } = await rig.instance(url);
    const clients = await rig.peer('rooms', port, 'messages?room_id=eq.*');
    const reader = await rig.peer('snapshots', port, 'messages', ROWS);
    await clients.ask('connect', CLIENTS);
    const [rows] = await reader.ask('one');
    if (rows !== ROWS) throw new Error(`the snapshot had ${rows} rows of ${ROWS}`);

    /** Commits for a while; gives how long each took to its client, and how many there were in a second. */
    async function commit(): Promise<{ tookMs: number; rate: number }> {
      const each = (COMMITS_PER_SECOND * HALF_MS) / 1000 / WRITERS;
      const begunMs = clockMs();
      await Promise.all(
        writers.map((client) =>
          pace(each, HALF_MS / each, async () => {
            await client.query({
              name: 'insert',
              text: 'insert into messages (room_id, content) values ($1, $2)',
              values: [Math.floor(Math.random() * CLIENTS), clockMs()],
            });
          }),
        ),
      );
      const rate = (each * WRITERS * 1000) / (clockMs() - begunMs);
      const [tookMs = Number.NaN] = await clients.ask('took', each * WRITERS);
      return { tookMs, rate };
    }

    await commit();
    const seen: Record<'without' | 'beside' | 'rates' | 'snapshots', number[]> = {
      without: [],
      beside: [],
      rates: [],
      snapshots: [],
    };
    await takeRounds(rig.quick ? 0 : ROUNDS_MS, async () => {
      const without = await commit();
      await reader.ask('start');
      const beside = await commit();
      seen.snapshots.push(...(await reader.ask('stop')));
      seen.without.push(without.tookMs);
      seen.beside.push(beside.tookMs);
      seen.rates.push(without.rate, beside.rate);
    });
    return [
      {
        case: `${CLIENTS} clients, ${Math.round(median(seen.rates))} commits a second`,
        figures: {
          without: `${median(seen.without).toFixed(3)} ms`,
          beside: `${median(seen.beside).toFixed(3)} ms`,
          snapshots: `${seen.snapshots.length} of ${median(seen.snapshots).toFixed(0)} ms`,
          'lowest rate': `${Math.round(Math.min(...seen.rates))}`,
        },
        value: medianRatio(seen.beside, seen.without),
      },
    ];
  },
};
