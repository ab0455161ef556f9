/** What a commit costs beside many filters that it does not concern, against one filter alone. */
import type { Measurement } from './measurement.ts';
import { clockMs, pace, takeRounds } from './rig/clock.ts';
import { openFilesLimit } from './rig/machine.ts';
import { createMessages, watch } from './rig/messages.ts';
import type { Peer } from './rig/peer.ts';
import type { Rig } from './rig/rig.ts';
import { median, medianRatio } from './rig/statistics.ts';
import { cpuUs } from './rig/usage.ts';

const CLIENTS = 10_000;
/** Files that a process needs besides its connections. */
const OTHER_FILES = 200;
/** Kinds of clients: with a filter of its own, and of a table that nobody writes to. */
const [OWN_ROOM, QUIET] = [0, 1];
const COMMITS = 1000;
const INTERVAL_MS = 1;
const ROUNDS_MS = 10_000;

interface Side {
  /** Of the service. */
  readonly pid: number;
  readonly clients: Peer;
  /** Commits one row of a room that one client is subscribed to. */
  commit(): Promise<void>;
}

/** What one round saw, of each commit. */
interface Round {
  readonly cpuUs: number;
  readonly tookMs: number;
}

export const filters: Measurement = {
  name: 'filters',
  about: 'one-row commits that concern one client: each of many with a filter of its own, against one filter',
  bound: { atMost: 1.2 },
  async run(rig) {
    const clients = Math.min(CLIENTS, openFilesLimit() - OTHER_FILES);
    const many = await startSide(rig, { name: 'bench_many_filters', clients, rooms: clients });
    const one = await startSide(rig, { name: 'bench_one_filter', clients, rooms: 1 });
    let seen: Record<'many' | 'one', Round[]> = { many: [], one: [] };
    const takeRound = async () => {
      seen.one.push(await measure(one));
      seen.many.push(await measure(many));
    };
    await takeRound();
    // That was to warm up.
    seen = { many: [], one: [] };
    await takeRounds(rig.quick ? 0 : ROUNDS_MS, takeRound);

    const result = (what: string, unit: string, of: (round: Round) => number) => {
      const [ours, theirs] = [seen.many.map(of), seen.one.map(of)];
      return {
        case: `${clients.toLocaleString('en')} clients, ${what}`,
        figures: {
          'one filter': `${median(theirs).toFixed(3)} ${unit}`,
          [`${clients.toLocaleString('en')} filters`]: `${median(ours).toFixed(3)} ${unit}`,
        },
        value: medianRatio(ours, theirs),
      };
    };
    return [
      result('CPU of the service for a commit', 'µs', (round) => round.cpuUs),
      result('commit to client', 'ms', (round) => round.tookMs),
    ];
  },
};

async function startSide(
  rig: Rig,
  { name, clients, rooms }: { name: string; clients: number; rooms: number },
): Promise<Side> {
  const url = await rig.database(name);
  const writer = await rig.client(url);
  // Else the disk sets the rate, and most of the latency.
  await writer.query('set synchronous_commit = off');
  for (const table of ['messages', 'quiet']) {
    await writer.query(createMessages(table));
    await writer.query(watch(table));
  }
  const { pid, port } = await rig.instance(url);
  const peer = await rig.peer('rooms', port, 'messages?room_id=eq.*', 'quiet');
  await peer.ask('connect', rooms, OWN_ROOM);
  await peer.ask('connect', clients - rooms, QUIET);
  return {
    pid,
    clients: peer,
    async commit() {
      await writer.query({
        name: 'insert',
        text: 'insert into messages (room_id, content) values ($1, $2)',
        values: [Math.floor(Math.random() * rooms), String(clockMs())],
      });
    },
  };
}

async function measure({ pid, clients, commit }: Side): Promise<Round> {
  const before = cpuUs(pid);
  await pace(COMMITS, INTERVAL_MS, commit);
  const [tookMs = Number.NaN] = await clients.ask('took', COMMITS);
  return { cpuUs: (cpuUs(pid) - before) / COMMITS, tookMs };
}
