/** What a fleet asks of PostgreSQL, by PostgreSQL alone and by NATS: the more instances, the more it shows. */
import { setTimeout as pause } from 'node:timers/promises';
import type pg from 'pg';
import { hasNats, startNats } from '../test/harness/nats-server.ts';
import type { Measurement, Result } from './measurement.ts';
import { clockMs, pace } from './rig/clock.ts';
import type { Instance } from './rig/instance.ts';
import { createMessages, watch } from './rig/messages.ts';
import type { Rig } from './rig/rig.ts';
import type { Statement } from './rig/statements.ts';

const INSTANCES = [1, 5, 20];
const AT_ONCE = 4;
/** 200 commits a second. */
const INTERVAL_MS = 5;
const LEAD_IN = 400;
const COMMITS = 3000;
/** Until what was heard last is confirmed. */
const SETTLE_MS = 2500;
/** Some checks of connections long. */
const IDLE_MS = 12_000;
const LOOK_MS = 50;
const JOINED_MS = 60_000;

type Bus = 'PostgreSQL' | 'NATS';

interface Scene {
  readonly bus: Bus;
  readonly writer: pg.Client;
  /** What the database was asked so far. */
  readonly seen: readonly Statement[];
  /** Starts instances until there are so many. */
  grow(count: number): Promise<readonly Instance[]>;
}

/** Statements a second. */
interface Asked {
  readonly all: number;
  /** Of those that listen or lead, whether their connection is there. */
  readonly checks: number;
  readonly prunes: number;
}

export const fleet: Measurement = {
  name: 'fleet',
  about:
    'statements a second that all instances send to PostgreSQL, against one instance: at 200 commits a second, and idle',
  bound: { atMost: 1.2 },
  lacks: () => (hasNats() ? undefined : 'nats-server'),
  async run(rig) {
    const nats = rig.keep(await startNats());
    const results: Result[] = [];
    for (const [bus, setting] of [
      ['PostgreSQL', 'postgres'],
      ['NATS', nats.url],
    ] as const) {
      const scene = await prepare(rig, bus, setting);
      let alone: Asked | undefined;
      let instances: readonly Instance[] = [];
      for (const count of INSTANCES) {
        instances = await scene.grow(count);
        const { result, asked } = await measure(rig, scene, instances, alone);
        alone ??= asked;
        results.push(result);
      }
      for (const instance of [...instances].reverse()) await instance.stop();
    }
    return results;
  },
};

async function prepare(rig: Rig, bus: Bus, setting: string): Promise<Scene> {
  const name = `bench_fleet_${bus.toLowerCase()}`;
  const url = await rig.database(name);
  const writer = await rig.client(url);
  await writer.query(createMessages('messages'));
  await writer.query(watch('messages'));
  await writer.query(`alter database ${name} set log_statement = 'all'`);
  const instances: Instance[] = [];
  const start = async () => instances.push(await rig.instance(url, { ROWCAST_BUS: setting }));
  return {
    bus,
    writer,
    seen: rig.statements(),
    async grow(count) {
      while (instances.length < count) {
        const missing = Math.min(AT_ONCE, count - instances.length);
        await Promise.all(Array.from({ length: missing }, start));
      }
      const wanted = bus === 'NATS' ? 1 : count;
      for (const deadline = clockMs() + JOINED_MS; (await backends(writer)).listeners !== wanted; ) {
        if (clockMs() > deadline)
          throw new Error(`by ${bus}, ${count} instances do not come to ${wanted} listeners`);
        await pause(LOOK_MS);
      }
      return instances;
    },
  };
}

async function measure(
  rig: Rig,
  { bus, writer, seen }: Scene,
  instances: readonly Instance[],
  alone: Asked | undefined,
): Promise<{ result: Result; asked: Asked }> {
  const count = instances.length;
  // The first one leads.
  const follower = await rig.peer('subscriber', instances.at(-1)?.port ?? 0, 'messages');
  const commit = async () => {
    await writer.query('insert into messages (content) values ($1)', [clockMs().toFixed(3)]);
  };
  await pace(LEAD_IN, INTERVAL_MS, commit);
  await follower.ask('took', LEAD_IN);
  const commits = rig.quick ? COMMITS / 5 : COMMITS;
  let took: number[] = [];
  const busy = await during(seen, async () => {
    await pace(commits, INTERVAL_MS, commit);
    took = await follower.ask('took', commits);
  });
  const [medianMs = Number.NaN, p99Ms = Number.NaN] = took;
  const there = await backends(writer);
  await follower.stop();
  await pause(SETTLE_MS);
  const quiet = await during(seen, async () => {
    await pause(rig.quick ? IDLE_MS / 4 : IDLE_MS);
  });
  const base = alone ?? busy;
  return {
    asked: busy,
    result: {
      case: `by ${bus}, ${count} ${count === 1 ? 'instance' : 'instances'}`,
      figures: {
        statements: `${busy.all.toFixed(1)}/s`,
        'of them checks': `${busy.checks.toFixed(1)}/s`,
        'and prunes': `${busy.prunes.toFixed(2)}/s`,
        idle: `${quiet.all.toFixed(1)}/s`,
        listeners: String(there.listeners),
        backends: String(there.all),
        'to a client, median': `${medianMs.toFixed(1)} ms`,
        p99: `${p99Ms.toFixed(1)} ms`,
      },
      value: busy.all / base.all,
      ...(bus === 'NATS' && alone !== undefined ? {} : { unbound: true as const }),
    },
  };
}

/** What the instances ask meanwhile. */
async function during(seen: readonly Statement[], act: () => Promise<void>): Promise<Asked> {
  const from = seen.length;
  const begunMs = clockMs();
  await act();
  const seconds = (clockMs() - begunMs) / 1000;
  const asked = seen.slice(from).filter(({ by }) => by.startsWith('rowcast'));
  const rate = (of: (statement: Statement) => boolean) => asked.filter(of).length / seconds;
  return {
    all: rate(() => true),
    checks: rate(({ by }) => by === 'rowcast listener' || by === 'rowcast leader'),
    prunes: rate(({ sql }) => sql.includes('rowcast.prune')),
  };
}

/** The connections of the instances, and those of them that LISTEN. */
async function backends(client: pg.Client): Promise<{ all: number; listeners: number }> {
  const { rows } = await client.query<{ all: number; listeners: number }>(
    `select count(*)::int as all, count(*) filter (where application_name = 'rowcast listener')::int as listeners
       from pg_stat_activity where datname = current_database() and application_name like 'rowcast%'`,
  );
  return rows[0] ?? { all: 0, listeners: 0 };
}
