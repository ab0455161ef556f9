/**
 * The pager: hands a commit on in pages, and moves the feed's position along with them.
 *
 * It promises that the pages of one commit come one after the other, each with the cursor of whoever has got it;
 * that a commit broken off in the middle goes on where it was; and that it holds two pages at the most.
 */
import { linesIn, type Page, readLines } from '../commit.ts';
import { type Observe, reasonOf } from '../observation.ts';
import { type Position, withPartial } from '../position.ts';
import type { LoggedCommit } from '../postgres/log.ts';
import type { Bookmark } from './bookmark.ts';
import { pagesIn, pagesOf, type RawPage } from './pages.ts';

/** A commit as a NOTIFY tells of it; without a body it is to be read from the log. */
export interface NotifiedCommit {
  readonly xid: bigint;
  readonly id: bigint;
  readonly at: string;
  readonly body: string | null;
}

/** The position once a commit was handed on as a whole. */
export type Whole = (base: Position) => Position;

export interface Pager {
  /** Hands on a commit of the log, however large; resolves when its last page was taken. A small one goes in this turn. */
  deliver(commit: LoggedCommit, whole: Whole): void | Promise<void>;
  /**
   * Hands on a commit that came inline, in this turn. It does not where it is not understood, nor where it is to be
   * read instead, since what comes after it must wait: it changed what is watched, and who may see it.
   */
  deliverInline(commit: NotifiedCommit, whole: Whole): 'handed on' | 'not understood' | 'to be read';
}

export interface PagerOptions {
  /** Where it goes on, and what it moves along. */
  place: Pick<Bookmark, 'position' | 'moveTo' | 'cursor'>;
  onPage(page: Page): void | Promise<void>;
  /** Whatever is committed after it waits until it resolves. */
  onWatchingChanged(): Promise<void>;
  /** An instance has told all of them something, as JSON. */
  onAnnounced(what: string): void;
  observe: Observe;
  now: () => number;
}

const HEADER = /^(\d+)(?:$| (\d+) "([^"\n]+)"\n)/;

/** Reads `xid id "at" NEWLINE lines`, or the xid alone. Null, and an observation, for what is neither. */
export function readNotification(payload: string, observe: Observe): NotifiedCommit | null {
  const [header = '', xid, id, at] = HEADER.exec(payload) ?? [];
  if (xid !== undefined) {
    if (id === undefined || at === undefined) return { xid: BigInt(xid), id: 0n, at: '', body: null };
    return { xid: BigInt(xid), id: BigInt(id), at, body: payload.slice(header.length) };
  }
  observe({
    type: 'feed.malformed',
    what: `a notification of ${payload.length} characters that rowcast did not send`,
  });
  return null;
}

export function createPager(options: PagerOptions): Pager {
  const { place, onPage, onWatchingChanged, onAnnounced, observe, now } = options;

  function report(commit: { xid: bigint; at: string }, source: 'inline' | 'read', changes: number): void {
    observe({ type: 'feed.commit', xid: commit.xid, source, changes, lagMs: now() - Date.parse(commit.at) });
  }

  /** Moves along, and hands on what is after the first `known` lines of it. */
  function handOn(page: RawPage, known: number, base: Position, whole: Whole): void | Promise<void> {
    const { xid, id, at, parts, skipParts, first, last, changesFollow } = page;
    const { offset, watchingChanged, announced } = page;
    place.moveTo(last ? whole(base) : withPartial(base, { xid, lines: offset + linesIn(page) }));
    const message = known > page.changes.length ? null : page.message;
    const changes = known === 0 ? page.changes : page.changes.slice(known);
    const cursor = place.cursor();
    const taken = onPage({
      xid,
      id,
      at,
      parts,
      skipParts,
      changes,
      message,
      changesFollow,
      first,
      last,
      cursor,
    });
    if (last) for (const what of announced) onAnnounced(what);
    return last && watchingChanged ? onWatchingChanged() : taken;
  }

  /** In this turn. */
  function handOnAll(
    pages: readonly RawPage[],
    source: 'inline' | 'read',
    whole: Whole,
  ): void | Promise<void> {
    const base = place.position();
    let count = 0;
    for (const page of pages) {
      const taken = handOn(page, 0, base, whole);
      count += page.changes.length;
      if (!page.last) continue;
      report(page, source, count);
      return taken;
    }
  }

  async function handOnInPages(commit: LoggedCommit, whole: Whole): Promise<void> {
    const { partial } = place.position();
    const resumed = partial?.xid === commit.xid ? partial.lines : 0;
    const base = resumed > 0 ? withPartial(place.position(), null) : place.position();
    let count = 0;
    for await (const page of pagesOf(commit)) {
      const known = Math.max(resumed - page.offset, 0);
      if (!page.last && known >= linesIn(page)) continue;
      count += Math.max(page.changes.length - known, 0);
      await handOn(page, known, base, whole);
      if (page.last) report(page, 'read', count);
    }
  }

  return {
    deliverInline(commit, whole) {
      let pages: RawPage[];
      try {
        const lines = readLines(commit.body ?? '');
        if (lines.watchingChanged) return 'to be read';
        const { xid, id, at } = commit;
        pages = pagesIn({ xid, id, at, parts: 1, skipParts: 0 }, lines);
      } catch (error) {
        // Anyone may NOTIFY: what is not ours is dropped, and what is missed by it comes with the next read.
        observe({ type: 'feed.malformed', what: reasonOf(error) });
        return 'not understood';
      }
      // Inline pages are small, and whoever takes them does not wait.
      void handOnAll(pages, 'inline', whole);
      return 'handed on';
    },

    deliver(commit, whole) {
      const { body } = commit;
      if (body === null || place.position().partial?.xid === commit.xid) return handOnInPages(commit, whole);
      const pages = pagesIn(commit, readLines(body));
      return pages.length === 1 ? handOnAll(pages, 'read', whole) : handOnInPages(commit, whole);
    },
  };
}

/** A pager of commits that are over: nothing that they told of is told again. */
export function createRecaller({
  place,
  onPage,
  now,
}: Pick<PagerOptions, 'place' | 'onPage' | 'now'>): Pager {
  const nothing = { onWatchingChanged: async () => {}, onAnnounced() {}, observe() {} };
  return createPager({ ...nothing, place, onPage, now });
}
