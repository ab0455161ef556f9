/** Time, as all processes of the machine see it alike. */
import { setTimeout as delay } from 'node:timers/promises';

const LEAST_ROUNDS = 3;

/** Milliseconds of the kernel's monotonic clock: those of two processes can be compared. */
export function clockMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/**
 * Takes rounds for about `forMs`, and no fewer than three: so a run takes as long on a busy machine as on an idle
 * one.
 */
export async function takeRounds(forMs: number, round: () => Promise<void>): Promise<void> {
  const deadline = clockMs() + forMs;
  for (let taken = 0; taken < LEAST_ROUNDS || clockMs() < deadline; taken++) await round();
}

/** Acts so many times, each begun `intervalMs` after the one before, or at once where that is past. */
export async function pace(times: number, intervalMs: number, act: () => Promise<void>): Promise<void> {
  const begun = clockMs();
  for (let time = 0; time < times; time++) {
    const early = begun + time * intervalMs - clockMs();
    if (early > 0) await delay(early);
    await act();
  }
}
