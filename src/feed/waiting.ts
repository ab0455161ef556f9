/** The waiting room: commits that came inline and have not been handed on, bounded in bytes. */
import type { NotifiedCommit } from './notification.ts';

export interface WaitingRoom {
  /** False when it is full: then the commit, and all that wait, are to be read from the log instead. */
  add(commit: NotifiedCommit): boolean;
  readonly isEmpty: boolean;
  /** Empties it; gives what was in it, in order. */
  take(): NotifiedCommit[];
}

const MAX_CHARS = 16 * 1024 * 1024;
/** What hangs on it runs when the code under way has ended, for less than `queueMicrotask` takes. */
const AFTERWARDS = Promise.resolve();

/** `onAdded` is called as soon as whoever adds has added all he has. */
export function createWaitingRoom(onAdded: () => void): WaitingRoom {
  let commits: NotifiedCommit[] = [];
  let chars = 0;
  let scheduled = false;

  function tell(): void {
    scheduled = false;
    onAdded();
  }

  return {
    get isEmpty() {
      return commits.length === 0;
    },
    add(commit) {
      if (chars > MAX_CHARS) return false;
      commits.push(commit);
      chars += commit.body?.length ?? 0;
      if (!scheduled) {
        scheduled = true;
        // What one packet of the listener's brought is looked at together, and leaves with this turn.
        void AFTERWARDS.then(tell);
      }
      return true;
    },
    take() {
      const taken = commits;
      commits = [];
      chars = 0;
      return taken;
    },
  };
}
