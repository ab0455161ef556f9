/** How soon many clients are live that come back at once after some commits, against as many that connect afresh. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Measurement } from './measurement.ts';
import { clockMs, takeRounds } from './rig/clock.ts';
import { openFilesLimit } from './rig/machine.ts';
import { createMessages, watch } from './rig/messages.ts';
import { median, medianRatio } from './rig/statistics.ts';

const CLIENTS = 10_000;
/** Files that a process needs besides its connections. */
const OTHER_FILES = 200;
const COMMITS = 100;
const ROUNDS_MS = 15_000;
/** For the service to see that they have left. */
const SETTLE_MS = 500;
/** After so long without a statement of the service none is to come of what was before. */
const QUIET_MS = 1200;

interface Seen {
  /** Of each round, in ms. */
  readonly fresh: number[];
  readonly back: number[];
  statements: number;
}

export const resume: Measurement = {
  name: 'resume',
  about: 'clients that come back 100 commits behind until all are live, against fresh ones until subscribed',
  bound: { atMost: 1.5 },
  async run(rig) {
    const count = Math.min(CLIENTS, openFilesLimit() - OTHER_FILES);
    const url = await rig.database('bench_resume');
    const writer = await rig.client(url);
    await writer.query(createMessages('messages'));
    await writer.query(watch('messages'));
    const { port } = await rig.instance(url);
    const clients = await rig.peer('rooms', port, 'messages?room_id=eq.*');
    const witness = await rig.peer('rooms', port, 'messages');
    await witness.ask('connect', 1);
    await clients.ask('connect', count);

    let seen: Seen = { fresh: [], back: [], statements: 0 };
    const takeRound = async () => {
      await clients.ask('leave');
      await delay(SETTLE_MS);
      const [freshMs = Number.NaN] = await clients.ask('restart');
      await clients.ask('leave');
      for (let commit = 0; commit < COMMITS; commit++) {
        const room = Math.floor(Math.random() * count);
        await writer.query('insert into messages (room_id, content) values ($1, $2)', [room, clockMs()]);
      }
      await witness.ask('took', COMMITS);
      await quiet(writer);
      const begun = await now(writer);
      const [backMs = Number.NaN, changes] = await clients.ask('resume');
      if (changes !== COMMITS) throw new Error(`${changes} changes came of ${COMMITS}`);
      const statements = await statementsSince(writer, begun);
      for (const statement of statements) console.log(`  a statement came between: ${statement}`);
      seen.fresh.push(freshMs);
      seen.back.push(backMs);
      seen.statements += statements.length;
    };
    await takeRound();
    // That was to warm up.
    seen = { fresh: [], back: [], statements: 0 };
    await takeRounds(rig.quick ? 0 : ROUNDS_MS, takeRound);
    const { fresh, back, statements } = seen;
    return [
      {
        case: `${count.toLocaleString('en')} clients`,
        figures: {
          fresh: `${median(fresh).toFixed(0)} ms`,
          resumed: `${median(back).toFixed(0)} ms`,
          'connections that queried': `${statements}`,
        },
        // A query breaks the promise, however soon they are live.
        value: statements === 0 ? medianRatio(back, fresh) : Number.POSITIVE_INFINITY,
      },
    ];
  },
};

/** Waits until the service has asked the database nothing for a while. */
async function quiet(client: pg.Client): Promise<void> {
  for (;;) {
    const since = await now(client);
    await delay(QUIET_MS);
    const statements = await statementsSince(client, since);
    if (statements.length === 0) return;
  }
}

async function now(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ now: string }>('select clock_timestamp()::text as now');
  return rows[0]?.now ?? '';
}

/**
 * The last statement of each of the service's connections that began one since then. The listener's connection is
 * left out, which asks whether it is alive, and so is the pruner's hourly work.
 */
async function statementsSince(client: pg.Client, since: string): Promise<string[]> {
  const { rows } = await client.query<{ statement: string }>(
    `select application_name || ': ' || query as statement from pg_stat_activity
      where datname = current_database() and application_name in ('rowcast', 'rowcast catch-up')
        and greatest(query_start, backend_start) > $1 and query not like '%rowcast.prune(%'`,
    [since],
  );
  return rows.map(({ statement }) => statement);
}
