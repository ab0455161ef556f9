/** What writers feel while a large log is pruned, what comes back of the disk, and who waits for whom. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Measurement, Result } from './measurement.ts';
import { clockMs } from './rig/clock.ts';
import { createMessages, watch } from './rig/messages.ts';
import type { Peer } from './rig/peer.ts';
import { median, medianRatio } from './rig/statistics.ts';

const ROWS = 5_000_000;
const BUILD_MS = 60_000;
const TRIAL_ROWS = 50_000;
/** Slots that are full; one more is being written, with a tenth of all. */
const FULL_SLOTS = [1, 2, 3, 4, 5, 6];
const KEPT_SHARE = 0.1;
/** Of a fresh server: what we make is of transactions up to this one. */
const LAST_XID = 600;
const WATCHED = 2;
const CONNECTIONS = 4;
const LEAD_IN_MS = 500;
const ROUND_MS = 2_000;
const RETRY_MS = 20;
const LOOK_MS = 10;

export const prune: Measurement = {
  name: 'prune',
  about: 'transactions a second of 4 connections while a large log is pruned to a tenth, against without',
  bound: { atLeast: 0.9 },
  async run(rig) {
    const url = await rig.database('bench_prune');
    const admin = await rig.client(url);
    await admin.query(createMessages('watched'));
    await admin.query(watch('watched'));
    const rows = await build(admin, rig.quick ? ROWS / 50 : ROWS);
    await rig.instance(url);
    const writers = await rig.peer('writers', url);
    await writers.ask('connect', CONNECTIONS, 0);

    const before = await bytesOf(admin);
    const pruner = await rig.client(url);
    const watcher = startWatching(await rig.client(url));
    const rates: Record<'without' | 'while', number[]> = { without: [], while: [] };
    const pruned: Pruned[] = [];
    await write(writers);
    for (const round of FULL_SLOTS.keys()) {
      // In turns, as writers are quicker the longer they write.
      if (round % 2 === 0) rates.without.push(await write(writers));
      const [rate, done] = await Promise.all([write(writers), emptyOne(pruner)]);
      rates.while.push(rate);
      pruned.push(done);
      if (round % 2 === 1) rates.without.push(await write(writers));
    }
    const seen = await watcher.stop();
    const after = await bytesOf(admin);
    const written = (await commitsOf(admin)) * (before / rows);
    return resultsOf({ rows, before, after, written, rates, pruned, seen });
  },
};

async function write(writers: Peer): Promise<number> {
  const [rate = Number.NaN] = await writers.ask('write', WATCHED, CONNECTIONS, LEAD_IN_MS, ROUND_MS);
  return rate;
}

/** Fills the slots as writers would have, without their triggers; as far as the time goes. Gives how many rows there are. */
async function build(admin: pg.Client, wanted: number): Promise<number> {
  await admin.query('set session_replication_role = replica');
  async function fill(slot: number, rows: number): Promise<number> {
    const begun = clockMs();
    await admin.query(
      `insert into rowcast.log (slot, id, xid, at, body)
         select $1::int, nextval('rowcast.log_id'), (3 + n % ${LAST_XID - 2})::text::xid8, clock_timestamp(),
                concat('0 i 16384 public.watched', E'\\t"key":{"id": ', n, '},"new":{"id": ', n,
                       ', "content": "hello world, this is message ', n, '", "room_id": 7, "created_at": "2026-01-01T00:00:00+00:00"}', E'\\n')
           from generate_series(1, $2::int) n`,
      [slot, rows],
    );
    return clockMs() - begun;
  }
  const trialMs = await fill(0, TRIAL_ROWS);
  const rows = Math.min(wanted, Math.floor((BUILD_MS / trialMs) * TRIAL_ROWS));
  const full = Math.floor((rows * (1 - KEPT_SHARE)) / FULL_SLOTS.length);
  const own = Math.floor(rows * KEPT_SHARE) - TRIAL_ROWS;
  if (own > 0) await fill(0, own);
  for (const slot of FULL_SLOTS) {
    await fill(slot, full);
    await admin.query(
      'update rowcast.log_slot set started_at = clock_timestamp(), ended_at = clock_timestamp() where slot = $1',
      [slot],
    );
  }
  await admin.query('reset session_replication_role; checkpoint');
  return full * FULL_SLOTS.length + Math.max(own, 0) + TRIAL_ROWS;
}

async function bytesOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ bytes: number }>(
    'select sum(rowcast.slot_bytes(slot))::float8 as bytes from rowcast.log_slot',
  );
  return rows[0]?.bytes ?? Number.NaN;
}

/** What the writers committed: the rows that we made are of transactions before theirs. */
async function commitsOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ commits: number }>(
    `select count(*)::int as commits from rowcast.log where xid > '${LAST_XID}'`,
  );
  return rows[0]?.commits ?? Number.NaN;
}

interface Pruned {
  /** Of the call that emptied the slot. */
  readonly ms: number;
  readonly calls: number;
}

/** Prunes as the service does, by such a size that the oldest slot goes; where it is in use, again. */
async function emptyOne(client: pg.Client): Promise<Pruned> {
  await delay(LEAD_IN_MS * 2);
  for (let calls = 1; ; calls++) {
    const limit = Math.floor((await bytesOf(client)) * 0.99);
    const begun = clockMs();
    const { rows } = await client.query<{ emptied: number }>(
      `select emptied from rowcast.prune('24 hours', greatest($1::bigint, 1))`,
      [limit],
    );
    if ((rows[0]?.emptied ?? 0) > 0) return { ms: clockMs() - begun, calls };
    await delay(RETRY_MS);
  }
}

interface Seen {
  /** The longest that somebody was seen to wait for a lock on a table. */
  readonly waitMs: number;
  /** The longest that a connection of rowcast was seen to sit in a transaction. */
  readonly idleMs: number;
  readonly looks: number;
}

function startWatching(client: pg.Client): { stop(): Promise<Seen> } {
  let [waitMs, idleMs, looks, stopped] = [0, 0, 0, false];
  async function watchOn(): Promise<void> {
    while (!stopped) {
      const { rows } = await client.query<{ wait: number; idle: number }>(`select
        (select coalesce(max(extract(epoch from clock_timestamp() - waitstart)), 0)::float8 * 1000 from pg_locks
          where not granted and locktype = 'relation') as wait,
        (select coalesce(max(extract(epoch from clock_timestamp() - state_change)), 0)::float8 * 1000 from pg_stat_activity
          where state like 'idle in transaction%') as idle`);
      waitMs = Math.max(waitMs, rows[0]?.wait ?? 0);
      idleMs = Math.max(idleMs, rows[0]?.idle ?? 0);
      looks++;
      await delay(LOOK_MS);
    }
  }
  const watching = watchOn();
  return {
    async stop() {
      stopped = true;
      await watching;
      return { waitMs, idleMs, looks };
    },
  };
}

interface Outcome {
  rows: number;
  before: number;
  after: number;
  /** Of that, what the writers wrote meanwhile. */
  written: number;
  rates: Record<'without' | 'while', number[]>;
  pruned: readonly Pruned[];
  seen: Seen;
}

function resultsOf({ rows, before, after, written, rates, pruned, seen }: Outcome): Result[] {
  const [MiB, ms] = [
    (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`,
    (n: number) => `${n.toFixed(0)} ms`,
  ];
  const of = `a log of ${rows.toLocaleString('en')} commits`;
  return [
    {
      case: `${of}, transactions a second`,
      figures: {
        without: `${median(rates.without).toFixed(0)}/s`,
        'while it is pruned': `${median(rates.while).toFixed(0)}/s`,
      },
      value: medianRatio(rates.while, rates.without),
    },
    {
      case: `${of}, on disk`,
      figures: { before: MiB(before), after: MiB(after), 'of that written meanwhile': MiB(written) },
      value: (after - written) / before,
      bound: { atMost: 0.15 },
    },
    {
      case: 'a call that empties a slot',
      figures: {
        longest: ms(Math.max(...pruned.map((one) => one.ms))),
        'calls until the slot was free, most': String(Math.max(...pruned.map(({ calls }) => calls))),
      },
      value: median(pruned.map((one) => one.ms)),
      unit: 'ms, median',
      bound: { atMost: 500 },
    },
    {
      case: 'the longest wait for a lock on a table',
      figures: { looks: String(seen.looks) },
      value: seen.waitMs,
      unit: 'ms',
      bound: { atMost: 500 },
    },
    {
      case: 'the longest time idle in a transaction',
      figures: { looks: String(seen.looks) },
      value: seen.idleMs,
      unit: 'ms',
      bound: { atMost: 1_000 },
    },
  ];
}
