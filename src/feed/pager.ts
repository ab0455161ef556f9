/**
 * The pager: hands a commit on in pages, and moves the feed's position along with them.
 *
 * It promises that the pages of one commit come one after the other, each with the cursor of whoever has got it;
 * that a commit broken off in the middle goes on where it was; and that it holds two pages at the most.
 */
import { type Lines, linesIn, type Page, readLines, type TableChange } from '../commit.ts';
import { type ObservationOf, type Observe, reasonOf } from '../observation.ts';
import { type Position, withPartial } from '../position.ts';
import type { LoggedCommit } from '../postgres/log.ts';
import type { Bookmark } from './bookmark.ts';
import type { NotifiedCommit } from './notification.ts';
import { type Commit, msOf, pagesIn, pagesOf, type RawPage, utc } from './pages.ts';

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
  /** Does what the pages need not wait for. */
  afterwards(work: () => void): void;
  now: () => number;
}

type Source = ObservationOf<'feed.commit'>['source'];

/** A commit that was handed on and not told of yet. */
interface HandedOn {
  readonly xid: bigint;
  readonly at: string;
  readonly source: Source;
  readonly changes: number;
  readonly handedOnMs: number;
}

export function createPager(options: PagerOptions): Pager {
  const { place, onPage, onWatchingChanged, onAnnounced, observe, afterwards, now } = options;
  let untold: HandedOn[] = [];

  function report(xid: bigint, at: string, source: Source, changes: number): void {
    // A read brings many.
    if (untold.push({ xid, at, source, changes, handedOnMs: now() }) === 1) afterwards(tell);
  }

  function tell(): void {
    const told = untold;
    untold = [];
    for (const { xid, at, source, changes, handedOnMs } of told)
      observe({ type: 'feed.commit', xid, source, changes, lagMs: handedOnMs - msOf(at) });
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

  /** Hands on, in this turn, a commit that is changes alone, and few: one page, as mostly. */
  function handOnChanges(
    { xid, id, at, parts, skipParts }: Commit,
    changes: readonly TableChange[],
    { announced, watchingChanged }: Lines,
    source: Source,
    whole: Whole,
  ): void | Promise<void> {
    place.moveTo(whole(place.position()));
    // Written out, as copying members costs more than all else here.
    const taken = onPage({
      xid,
      id,
      at,
      changes,
      message: null,
      changesFollow: false,
      parts,
      skipParts,
      first: true,
      last: true,
      cursor: place.cursor(),
    });
    report(xid, at, source, changes.length);
    for (const what of announced) onAnnounced(what);
    return watchingChanged ? onWatchingChanged() : taken;
  }

  /** In this turn. */
  function handOnPages(pages: readonly RawPage[], source: Source, whole: Whole): void | Promise<void> {
    const base = place.position();
    let count = 0;
    for (const page of pages) {
      const taken = handOn(page, 0, base, whole);
      count += page.changes.length;
      if (!page.last) continue;
      report(page.xid, page.at, source, count);
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
      if (page.last) report(page.xid, page.at, 'read', count);
    }
  }

  return {
    deliverInline(commit, whole) {
      const { xid, id } = commit;
      let at: string;
      let lines: Lines;
      try {
        lines = readLines(commit.body ?? '');
        at = utc(commit.at);
      } catch (error) {
        // Anyone may NOTIFY: what is not ours is dropped, and what is missed by it comes with the next read.
        observe({ type: 'feed.malformed', what: reasonOf(error) });
        return 'not understood';
      }
      if (lines.watchingChanged) return 'to be read';
      // Inline pages are small, and whoever takes them does not wait.
      const { changes } = lines;
      const whose = { xid, id, at, parts: 1, skipParts: 0 };
      if (changes === null) void handOnPages(pagesIn(whose, lines), 'inline', whole);
      else void handOnChanges(whose, changes, lines, 'inline', whole);
      return 'handed on';
    },

    deliver(commit, whole) {
      const { body } = commit;
      if (body === null || place.position().partial?.xid === commit.xid) return handOnInPages(commit, whole);
      const lines = readLines(body);
      const { changes } = lines;
      if (changes !== null) {
        const { xid, id, at, parts, skipParts } = commit;
        return handOnChanges({ xid, id, at: utc(at), parts, skipParts }, changes, lines, 'read', whole);
      }
      const pages = pagesIn(commit, lines);
      return pages.length === 1 ? handOnPages(pages, 'read', whole) : handOnInPages(commit, whole);
    },
  };
}

/** A pager of commits that are over: nothing that they told of is told again. */
export function createRecaller({
  place,
  onPage,
  now,
}: Pick<PagerOptions, 'place' | 'onPage' | 'now'>): Pager {
  const afterwards = (work: () => void) => work();
  const nothing = { onWatchingChanged: async () => {}, onAnnounced() {}, observe() {}, afterwards };
  return createPager({ ...nothing, place, onPage, now });
}
