/** What a connection costs that is subscribed and quiet: resident memory of the server. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Measurement } from './measurement.ts';
import { openFilesLimit } from './rig/machine.ts';
import { type Side, startSides } from './rig/sides.ts';
import { residentBytes } from './rig/usage.ts';

const CLIENTS = 10_000;
/** The first ones pay for what the process grows to in any case. */
const FIRST = 1000;
/** Files that a process needs besides its connections. */
const OTHER_FILES = 200;
const SETTLE_MS = 2000;

export const idle: Measurement = {
  name: 'idle',
  about:
    'resident memory for each connection that is subscribed and quiet, beside a bare uWebSockets.js server’s',
  bound: { atMost: 3 },
  unit: 'kB',
  async run(rig) {
    const clients = Math.min(rig.quick ? CLIENTS / 5 : CLIENTS, openFilesLimit() - FIRST - OTHER_FILES);
    const { rowcast, bare } = await startSides(rig, 'bench_idle');
    const [ours, theirs] = [await cost(rowcast, clients), await cost(bare, clients)];
    return [
      {
        case: `${clients.toLocaleString('en')} connections`,
        figures: { bare: `${theirs.toFixed(2)} kB`, rowcast: `${ours.toFixed(2)} kB` },
        value: ours,
      },
    ];
  },
};

/** Memory for each of so many connections, in kB. */
async function cost({ pid, receivers }: Side, clients: number): Promise<number> {
  await receivers.ask('connect', FIRST);
  await delay(SETTLE_MS);
  const before = residentBytes(pid);
  await receivers.ask('connect', clients);
  await delay(SETTLE_MS);
  return (residentBytes(pid) - before) / clients / 1000;
}
