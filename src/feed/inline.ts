/**
 * What comes inline: goes on at once where the feed is live and nothing is to be read first, else it waits.
 *
 * It promises that nothing overtakes what waits, and that whatever is not handed on is read.
 */
import type { Observe } from '../observation.ts';
import { partsIn, withCommit } from '../position.ts';
import type { Bookmark } from './bookmark.ts';
import { type NotifiedCommit, readNotification } from './notification.ts';
import type { Pager } from './pager.ts';
import type { Reads } from './reads.ts';
import { createWaitingRoom } from './waiting.ts';

export interface Inline {
  /** `isAlone`: nothing came together with it. */
  onNotification(payload: string, isAlone?: boolean): void;
  /** Hands on what waits, where it need not any longer. */
  handOn(): void;
}

export interface InlineOptions {
  place: Pick<Bookmark, 'position'>;
  pager: Pick<Pager, 'deliverInline'>;
  reads: Pick<Reads, 'busy' | 'want'>;
  isLive(): boolean;
  onHandedOn(commit: NotifiedCommit): void;
  observe: Observe;
}

export function createInline({ place, pager, reads, isLive, onHandedOn, observe }: InlineOptions): Inline {
  const waiting = createWaitingRoom(handOnAll);
  const isReady = () => isLive() && !reads.busy;

  function handOnAll(): void {
    if (!isReady()) return;
    for (const commit of waiting.take()) {
      // The rest of a transaction of several parts is read from the log, together with a first part still here.
      if (partsIn(place.position(), commit.xid) === 0) handOn(commit);
      // A read brings what follows.
      if (reads.busy) return;
    }
  }

  function handOn(commit: NotifiedCommit): void {
    const how = pager.deliverInline(commit, (base) => withCommit(base, commit.xid));
    if (how === 'handed on') onHandedOn(commit);
    // What was not understood may have been a commit after all: it must be read before a snapshot is taken for it.
    else reads.want(how === 'to be read' ? 'tables' : 'retry');
  }

  return {
    handOn: handOnAll,
    onNotification(payload, isAlone = false) {
      const commit = readNotification(payload, observe);
      if (commit === null) return;
      if (isReady()) {
        // Parts of it may still be missing where it came inline, none where a snapshot sees it. While the log is to be
        // read, that may be one from before a restart of the server, which has given the id anew.
        const had = partsIn(place.position(), commit.xid);
        if (had === Number.POSITIVE_INFINITY) return;
        if (had === 0 && isAlone && commit.body !== null && waiting.isEmpty) {
          handOn(commit);
          return;
        }
      }
      if (commit.body !== null && waiting.add(commit)) return;
      // It is in the log, and so is all that waits: one read brings them in order.
      waiting.take();
      reads.want(commit.body === null ? 'large' : 'retry');
    },
  };
}
