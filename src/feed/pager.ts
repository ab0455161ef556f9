/**
 * The pager: hands a commit on in pages, and moves the feed's position along with them.
 *
 * It promises that the pages of one commit come one after the other, each with the cursor of whoever has got it;
 * that a commit broken off in the middle goes on where it was; and that it holds two pages at the most.
 */
import { type Page, readLines, type TableChange } from '../commit.ts';
import { type Observe, reasonOf } from '../observation.ts';
import { type Position, withPartial } from '../position.ts';
import type { LoggedCommit } from '../postgres/log.ts';

/** A commit as a NOTIFY tells of it; without a body it is to be read from the log. */
export interface NotifiedCommit {
  readonly xid: bigint;
  readonly at: string;
  readonly body: string | null;
}

/** Where a commit goes in the stream. */
export interface Place {
  readonly position: () => Position;
  readonly moveTo: (next: Position) => void;
  readonly cursor: () => string;
  /** The position once the whole commit was handed on. */
  readonly whole: (base: Position) => Position;
}

export interface Pager {
  /** Hands on a commit of the log, however large; resolves when its last page was taken. */
  deliver(commit: LoggedCommit, place: Place): Promise<void>;
  /** Hands on a commit that came inline, in this turn. */
  deliverInline(commit: NotifiedCommit, place: Place): void;
}

export interface PagerOptions {
  onPage(page: Page): void | Promise<void>;
  onWatchingChanged(): void;
  observe: Observe;
  now: () => number;
}

const PAGE_CHARS = 256 * 1024;
const XID = /^\d+$/;

/** Reads `xid id "at" NEWLINE lines`, or the xid alone. Null, and an observation, for what is neither. */
export function readNotification(payload: string, observe: Observe): NotifiedCommit | null {
  const end = payload.indexOf('\n');
  const [xid = '', id = '', at = ''] = (end < 0 ? payload : payload.slice(0, end)).split(' ');
  if (XID.test(xid)) {
    if (end < 0 && id === '') return { xid: BigInt(xid), at: '', body: null };
    if (end > 0 && XID.test(id) && at.length > 2) {
      return { xid: BigInt(xid), at: utc(at.slice(1, -1)), body: payload.slice(end + 1) };
    }
  }
  observe({
    type: 'feed.malformed',
    what: `a notification of ${payload.length} characters that rowcast did not send`,
  });
  return null;
}

export function createPager({ onPage, onWatchingChanged, observe, now }: PagerOptions): Pager {
  function report(commit: { xid: bigint; at: string }, source: 'inline' | 'read', changes: number): void {
    observe({ type: 'feed.commit', xid: commit.xid, source, changes, lagMs: now() - Date.parse(commit.at) });
  }

  return {
    deliverInline(commit, place) {
      let lines: ReturnType<typeof readLines>;
      try {
        lines = readLines(commit.body ?? '');
      } catch (error) {
        // Anyone may NOTIFY: what is not ours is dropped, and what is missed by it comes with the next read.
        observe({ type: 'feed.malformed', what: reasonOf(error) });
        return;
      }
      const { xid, at } = commit;
      place.moveTo(place.whole(place.position()));
      // Inline pages are small, and whoever takes them does not wait.
      void onPage({ xid, at, changes: lines.changes, first: true, last: true, cursor: place.cursor() });
      if (lines.watchingChanged) onWatchingChanged();
      report(commit, 'inline', lines.changes.length);
    },

    async deliver(commit, place) {
      const at = utc(commit.at);
      const { xid } = commit;
      const { partial } = place.position();
      const base = partial?.xid === xid ? withPartial(place.position(), null) : place.position();
      let skip = partial?.xid === xid ? partial.lines : 0;
      let lines = skip;
      let first = skip === 0;
      let watchingChanged = false;
      let changes: TableChange[] = [];
      let chars = 0;
      let count = 0;

      const flush = async (last: boolean): Promise<void> => {
        lines += changes.length;
        place.moveTo(last ? place.whole(base) : withPartial(base, { xid, lines }));
        const page: Page = { xid, at, changes, first, last, cursor: place.cursor() };
        count += changes.length;
        first = false;
        changes = [];
        chars = 0;
        await onPage(page);
      };

      for await (const body of commit.bodies()) {
        const read = readLines(body);
        watchingChanged ||= read.watchingChanged;
        for (const change of read.changes) {
          if (skip > 0) {
            skip--;
            continue;
          }
          // A page is closed when the next begins: the last one is known as such.
          if (chars > PAGE_CHARS) await flush(false);
          changes.push(change);
          chars += change.wire.length;
        }
      }
      await flush(true);
      if (watchingChanged) onWatchingChanged();
      report({ xid, at }, 'read', count);
    },
  };
}

/** PostgreSQL's `+00:00`, or whatever offset its session has, as RFC 3339 has UTC, to the microsecond. */
function utc(at: string): string {
  const match = /^(.{19})(?:\.(\d+))?(Z|[+-]\d\d(?::?\d\d)?(?::?\d\d)?)$/.exec(at);
  if (!match) return at;
  const [, seconds = '', fraction = '', offset = 'Z'] = match;
  const zone = offset === 'Z' || /^[+-]\d\d:\d\d$/.test(offset) ? offset : `${offset.slice(0, 3)}:00`;
  const whole = new Date(`${seconds}${zone}`).toISOString().slice(0, 19);
  return `${whole}.${fraction.padEnd(6, '0')}Z`;
}
