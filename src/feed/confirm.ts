/** When what came inline is folded into a fresh snapshot. */
import { isVisible, type Position, type Snapshot } from '../position.ts';

export interface Confirmation {
  /** So many commits are beyond the snapshot now: it is wanted at once, later, or not at all. */
  after(beyond: number): void;
  /** What was wanted later is not any more. */
  cancel(): void;
}

export interface ConfirmationOptions {
  want(): void;
  /** Whether somebody else reads, and says snapshots: then it waits for those, for long. */
  isTold(): boolean;
  later: (ms: number, call: () => void) => () => void;
}

const ALONE = { commits: 128, ms: 1_000 };
const TOLD = { commits: 2_048, ms: 15_000 };

export function createConfirmation({ want, isTold, later }: ConfirmationOptions): Confirmation {
  let cancelLater: (() => void) | null = null;
  return {
    after(beyond) {
      const limits = isTold() ? TOLD : ALONE;
      // The log gives many faster than positions grow.
      if (beyond >= limits.commits) want();
      else if (beyond > 0) cancelLater ??= later(limits.ms, want);
    },
    cancel() {
      cancelLater?.();
      cancelLater = null;
    },
  };
}

/**
 * The position with a later snapshot, of which all is in it; null where that is not later, or the position is in the
 * middle of a read. Commits that the snapshot does not see stay beyond it.
 */
export function folded(position: Position, snapshot: Snapshot): Position | null {
  const { snapshot: own, delivered, readings, partial } = position;
  if (readings.length > 0 || partial !== null || snapshot.xmax < own.xmax) return null;
  if (snapshot.inProgress.some((xid) => isVisible(own, xid))) return null;
  const beyond = [...delivered].filter(([xid]) => !isVisible(snapshot, xid));
  return { snapshot, delivered: new Map(beyond), readings, partial };
}
