/** What rowcast costs those who write a row or two a transaction: CPU time of their backends. */
import type pg from 'pg';
import type { Measurement, Result } from './measurement.ts';
import { takeRounds } from './rig/clock.ts';
import { canKeep, keepOn, ownCores } from './rig/cores.ts';
import { createMessages, notifyNaively, watch } from './rig/messages.ts';
import type { Rig } from './rig/rig.ts';
import { median, medianRatio } from './rig/statistics.ts';
import { cpuUs } from './rig/usage.ts';

const TABLES = ['untouched', 'naive', 'watched'] as const;
type Table = (typeof TABLES)[number];

const ROWS = 1000;
const WARM_UP = 500;
/** In a round, on each table. */
const TRANSACTIONS = 150;
const CASE_MS = 12_000;

interface Writer {
  /** Of the backend. */
  readonly pid: number;
  readonly client: pg.Client;
}

type Write = (table: Table) => pg.QueryConfig;

const WRITES: Readonly<Record<string, Write>> = {
  INSERT: (table) => ({
    name: `insert ${table}`,
    text: `insert into ${table} (room_id, content) values ($1, $2)`,
    values: [7, 'hello world, this is a message'],
  }),
  UPDATE: (table) => ({
    name: `update ${table}`,
    text: `update ${table} set content = $1 where id = $2`,
    values: [String(Math.random()), 1 + Math.floor(Math.random() * ROWS)],
  }),
};

/** As most applications write: what comes after a transaction's first row is captured another way. */
const TWICE = 'BEGIN, twice, COMMIT';

type Transact = (client: pg.Client, query: pg.QueryConfig) => Promise<unknown>;

const FORMS: Readonly<Record<string, Transact>> = {
  autocommit: (client, query) => client.query(query),
  'BEGIN … COMMIT': async (client, query) => {
    await client.query('begin');
    await client.query(query);
    await client.query('commit');
  },
  [TWICE]: async (client, query) => {
    await client.query('begin');
    await client.query(query);
    await client.query(query);
    await client.query('commit');
  },
};

type Writers = Readonly<Record<Table, Writer>>;

const APART = 'a core for the backend';

/** Where the backends run: apart from the driver, as on a server whose clients are elsewhere; then wherever the kernel puts them. */
const PLACES: Readonly<Record<string, (cores: readonly number[], writers: Writers) => void>> = {
  [APART](cores, writers) {
    keepOn(process.pid, cores.slice(0, -1));
    for (const { pid } of Object.values(writers)) keepOn(pid, cores.slice(-1));
  },
  'cores shared with the driver'(cores, writers) {
    keepOn(process.pid, cores);
    for (const { pid } of Object.values(writers)) keepOn(pid, cores);
  },
};

export const writer: Measurement = {
  name: 'writer',
  about: 'one-row transactions, CPU of the backend: rowcast against a naive NOTIFY trigger',
  bound: { atMost: 1.7 },
  async run(rig) {
    const forMs = rig.quick ? 1000 : CASE_MS;
    const writers = await prepare(rig);
    const results: Result[] = [];
    const cores = ownCores();
    const canPlace = canKeep() && cores.length > 1;
    if (canPlace) rig.keep({ stop: async () => keepOn(process.pid, cores) });
    for (const [where, place] of Object.entries(PLACES)) {
      if (canPlace) place(cores, writers);
      else if (where === APART) continue;
      for (const [how, transact] of Object.entries(FORMS)) {
        for (const [what, write] of Object.entries(WRITES)) {
          const result = await compare(writers, forMs, (client, table) => transact(client, write(table)));
          // The bound is on one row; and a naive trigger says the new row, where what an update changed is more.
          results.push({
            ...result,
            case: `${what}, ${how}, ${where}`,
            ...(what === 'UPDATE' || how === TWICE ? { unbound: true as const } : {}),
          });
        }
      }
    }
    return results;
  },
};

async function compare(
  writers: Writers,
  forMs: number,
  transact: (client: pg.Client, table: Table) => Promise<unknown>,
): Promise<Omit<Result, 'case'>> {
  const seen: Record<Table, number[]> = { untouched: [], naive: [], watched: [] };
  for (const table of TABLES) await cost(writers[table], WARM_UP, (c) => transact(c, table));
  await takeRounds(forMs, async () => {
    for (const table of TABLES) {
      seen[table].push(await cost(writers[table], TRANSACTIONS, (c) => transact(c, table)));
    }
  });
  return {
    figures: {
      'no trigger': `${median(seen.untouched).toFixed(1)} µs`,
      naive: `${median(seen.naive).toFixed(1)} µs`,
      rowcast: `${median(seen.watched).toFixed(1)} µs`,
    },
    value: medianRatio(seen.watched, seen.naive),
  };
}

async function prepare(rig: Rig): Promise<Writers> {
  const url = await rig.database('bench_writer');
  const admin = await rig.client(url);
  for (const table of TABLES) await admin.query(createMessages(table));
  await admin.query(notifyNaively('naive'));
  await admin.query(watch('watched'));
  // As a leader that is calm: else a NOTIFY does not carry the changes.
  await admin.query(`select pg_advisory_lock(hashtext('rowcast'), 6)`);

  async function connect(table: Table): Promise<Writer> {
    const client = await rig.client(url);
    await client.query(
      `insert into ${table} (content) select 'row ' || i from generate_series(1, ${ROWS}) i`,
    );
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    return { client, pid: rows[0]?.pid ?? Number.NaN };
  }
  return {
    untouched: await connect('untouched'),
    naive: await connect('naive'),
    watched: await connect('watched'),
  };
}

/** CPU time of the backend for one transaction, in microseconds. */
async function cost(
  { client, pid }: Writer,
  transactions: number,
  transact: (client: pg.Client) => Promise<unknown>,
): Promise<number> {
  const before = cpuUs(pid);
  for (let done = 0; done < transactions; done++) await transact(client);
  return (cpuUs(pid) - before) / transactions;
}
