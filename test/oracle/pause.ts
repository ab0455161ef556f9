/** The passing of time: what the oracle's world does, not what its tests wait for. */
import { setImmediate as turn } from 'node:timers/promises';
import { until } from '../harness/facts.ts';

export async function pause(ms: number): Promise<void> {
  const due = performance.now() + ms;
  await until(() => performance.now() >= due, { what: 'a moment' });
  await turn();
}
