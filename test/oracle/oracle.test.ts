/** Short runs of the oracle; the long ones are `npm run test:oracle`. */
import { describe, expect, it } from '@jest/globals';
import { describeWithNats } from '../harness/nats.ts';
import { runOracle, type Scenario } from './oracle.ts';

const SECONDS = Number(process.env['ORACLE_SECONDS'] ?? 12);
const RUNS = Number(process.env['ORACLE_RUNS'] ?? 1);
const FIRST_SEED = Number(process.env['ORACLE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
/** Of those by NATS. */
const INSTANCES = Number(process.env['ORACLE_INSTANCES'] ?? 3);
const TOPICS = (process.env['ORACLE_TOPICS'] ?? 'item item?room=eq.1 item?room=eq.2&version=gte.0').split(
  ' ',
);

/** The second keeps so few commits in memory that its clients are caught up from the log. */
const TWO: Scenario = {
  nodes: [{}, { ROWCAST_RING_BYTES: '64KiB' }],
  writers: 4,
  pulses: 0,
  stragglers: 0,
  manner: {},
  faults: {
    listener: 0.5,
    backends: 0.15,
    restart: 0.04,
    crash: 0.04,
    drain: 0.1,
    kill: 0.1,
    leave: 4,
  },
  openThroughout: false,
};

/** Mutes as soon as a few commits come, and unmutes as soon as they do not. */
const PACE = {
  muteAbove: 60,
  backends: 2,
  muteAllAbove: 60,
  crowd: 2,
  unmuteBelow: 50,
  windowMs: 25,
  calmMs: 25,
  pauseMs: 2,
};
const PACED = { ORACLE_PACE: JSON.stringify(PACE) };
const MUTING: Scenario = {
  nodes: [PACED, { ...PACED, ROWCAST_RING_BYTES: '64KiB' }, PACED],
  writers: 5,
  pulses: 4,
  stragglers: 2,
  manner: { burstMs: 100, lingers: 0.02 },
  faults: {
    listener: 0.2,
    backends: 0.05,
    restart: 0.02,
    crash: 0.02,
    drain: 0.05,
    kill: 0.05,
    'kill leader': 0.15,
    'leader backend': 0.5,
    leave: 4,
  },
  openThroughout: true,
};

/** At 200 commits a second, around which this pace mutes and unmutes. */
const AROUND = { ORACLE_PACE: JSON.stringify({ ...PACE, muteAbove: 200, unmuteBelow: 150 }) };
const NATS_FAULTS = { nats: 0.15, 'nats cut off': 0.3, 'nats silent': 0.15, leave: 3 };
const LEADER_FAULTS = {
  listener: 0.1,
  backends: 0.05,
  restart: 0.02,
  drain: 0.05,
  'kill leader': 0.1,
  'leader backend': 0.1,
};
const BY_NATS: Scenario = {
  nodes: Array.from({ length: INSTANCES }, (_, n) =>
    n % 3 === 1 ? { ...AROUND, ROWCAST_RING_BYTES: '64KiB' } : AROUND,
  ),
  writers: 3,
  // Many instances leave their writers little of the machine, and less where they start anew.
  pulses: INSTANCES > 3 ? 8 : 4,
  stragglers: 0,
  manner: { everyMs: 25 },
  faults: {
    ...NATS_FAULTS,
    ...(INSTANCES > 3 ? { 'leader backend': 0.02 } : LEADER_FAULTS),
  },
  openThroughout: false,
  byNats: true,
};

describe.each([
  ['two instances', TWO, 0],
  ['two instances, followed by the client', { ...TWO, byClient: true }, 0],
  ['three instances that mute and unmute', MUTING, 2],
] as const)('the oracle, with %s', (_, scenario, mutingsPerSecond) => ask(scenario, mutingsPerSecond));
describeWithNats('the oracle, with instances by NATS', () => ask(BY_NATS, 0));

function ask(scenario: Scenario, mutingsPerSecond: number): void {
  for (let run = 0; run < RUNS; run++) {
    const seed = FIRST_SEED + run;
    it(
      `finds no difference in ${SECONDS} s, with seed ${seed}`,
      async () => {
        const report = await runOracle({ ...scenario, seed, durationMs: SECONDS * 1000, topics: TOPICS });
        console.log(`oracle: seed ${seed}: ${JSON.stringify(report)}`);
        expect(report.written).toBeGreaterThan(SECONDS);
        expect(report.resumes).toBeGreaterThan(0);
        expect(report.commits).toBeGreaterThan(report.written);
        // Of a short run, a single fault may take a good part.
        const share = SECONDS < 30 ? 0.6 : 1;
        expect(report.mutings).toBeGreaterThanOrEqual(mutingsPerSecond * SECONDS * share);
        // At its end all hear by it; how much they did before, a short run cannot tell.
        if (scenario.byNats && SECONDS >= 30) expect(report.heard).toBeGreaterThan(report.written * 0.1);
      },
      SECONDS * 1000 + 120_000,
    );
  }
}
