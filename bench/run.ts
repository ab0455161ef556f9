/** The runner: takes the measurements one after the other, prints what they saw, and fails where a bound does not hold. */
import { Command } from 'commander';
import { bulk } from './bulk.ts';
import { capacity } from './capacity.ts';
import { contention } from './contention.ts';
import { fanOut, saturation } from './fan-out.ts';
import { filters } from './filters.ts';
import { fleet } from './fleet.ts';
import { idle } from './idle.ts';
import { latency } from './latency.ts';
import { type Bound, holds, type Measurement, type Result } from './measurement.ts';
import { prune } from './prune.ts';
import { resume } from './resume.ts';
import { describeMachine } from './rig/machine.ts';
import { type Bench, startBench } from './rig/rig.ts';
import { snapshot } from './snapshot.ts';
import { writer } from './writer.ts';

const MEASUREMENTS: readonly Measurement[] = [
  writer,
  contention,
  bulk,
  latency,
  fanOut,
  saturation,
  idle,
  filters,
  resume,
  snapshot,
  fleet,
  prune,
  capacity,
];
const NAMES = MEASUREMENTS.map(({ name }) => name).join(', ');

const { only, quick } = new Command('bench')
  .description('Measures rowcast beside the barest thing that could stand in its place.')
  .option('--only <name...>', `take these measurements alone: ${NAMES}`)
  .option('--quick', 'short rounds, to see that it works; the figures mean little', false)
  .parse()
  .opts<{ only?: string[]; quick: boolean }>();

const unknown = only?.filter((name) => !MEASUREMENTS.some((measurement) => measurement.name === name)) ?? [];
if (unknown.length > 0) fail(`no such measurement: ${unknown.join(', ')}; there are ${NAMES}`);
const chosen = MEASUREMENTS.filter(({ name }) => only?.includes(name) ?? true);

const bench = await startBench({ quick });
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => void bench.stop().finally(() => process.exit(1)));
}
try {
  process.exitCode = await takeAll(bench);
} finally {
  await bench.stop();
}

/** Gives the exit code. */
async function takeAll({ postgresVersion, withRig }: Bench): Promise<number> {
  console.log(`${describeMachine(postgresVersion)}\n`);
  let failed = 0;
  for (const measurement of chosen) {
    console.log(`${measurement.name}: ${measurement.about}`);
    const lack = measurement.lacks?.();
    if (lack !== undefined) {
      console.log(`  skipped: there is no ${lack}`);
      continue;
    }
    const begun = performance.now();
    const results = await withRig((rig) => measurement.run(rig));
    for (const result of results) {
      console.log(`  ${lineOf(measurement, result)}`);
      if (verdictOf(measurement, result) === 'FAIL') failed++;
    }
    console.log(`  ${((performance.now() - begun) / 1000).toFixed(0)} s`);
  }
  console.log(`\n${failed === 0 ? 'every bound holds' : `${failed} outside of their bounds`}`);
  return failed === 0 ? 0 : 1;
}

function lineOf(measurement: Measurement, result: Result): string {
  const unit = result.unit ?? measurement.unit;
  const figures = Object.entries(result.figures).map(([name, figure]) => `${name} ${figure}`);
  const value =
    unit === undefined ? `ratio ${result.value.toFixed(2)}` : `${result.value.toFixed(2)} ${unit}`;
  const verdict = verdictOf(measurement, result);
  const held = verdict === 'note' ? 'no bound' : spell(result.bound ?? measurement.bound);
  return `${verdict}  ${result.case}: ${figures.join(', ')} → ${value} (${held})`;
}

function verdictOf({ bound: usual }: Measurement, result: Result): 'pass' | 'FAIL' | 'note' {
  const { value, bound = usual, unbound } = result;
  if (unbound) return 'note';
  return holds(value, bound) ? 'pass' : 'FAIL';
}

function spell(bound: Bound): string {
  return 'atMost' in bound ? `at most ${bound.atMost}` : `at least ${bound.atLeast}`;
}

function fail(why: string): never {
  console.error(why);
  process.exit(2);
}
