/** A short run of the oracle; the long one is `npm run test:oracle`. */
import { describe, expect, it } from '@jest/globals';
import { runOracle } from './oracle.ts';

const SECONDS = Number(process.env['ORACLE_SECONDS'] ?? 12);
const RUNS = Number(process.env['ORACLE_RUNS'] ?? 1);
const FIRST_SEED = Number(process.env['ORACLE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const TOPICS = (process.env['ORACLE_TOPICS'] ?? 'item item?room=eq.1 item?room=eq.2&version=gte.0').split(
  ' ',
);

describe('the oracle', () => {
  for (let run = 0; run < RUNS; run++) {
    const seed = FIRST_SEED + run;
    it(
      `finds no difference in ${SECONDS} s, with seed ${seed}`,
      async () => {
        const report = await runOracle({ seed, durationMs: SECONDS * 1000, topics: TOPICS });
        console.log(`oracle: seed ${seed}: ${JSON.stringify(report)}`);
        expect(report.written).toBeGreaterThan(SECONDS);
        expect(report.resumes).toBeGreaterThan(0);
        expect(report.commits).toBeGreaterThan(report.written);
      },
      SECONDS * 1000 + 120_000,
    );
  }
});
