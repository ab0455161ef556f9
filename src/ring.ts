/**
 * The ring: the latest commits, as the feed handed them on or recalled them, bounded in bytes.
 *
 * Clients that come back are served from it without a query. It promises that what it gives for a position is
 * exactly what the position lacks of what was handed on; or that it says that it cannot tell.
 */
import type { Page } from './commit.ts';
import { isInRead, readCursor } from './position/cursor.ts';
import { contains, type Position, partsIn } from './position.ts';

/** A commit in the ring. */
export interface RingCommit {
  readonly xid: bigint;
  readonly id: bigint;
  readonly parts: number;
  readonly pages: readonly Page[];
}

/** What a position lacks: commits in the order in which the feed handed them on. */
export interface Missing {
  readonly commits: readonly RingCommit[];
  /** Whether the feed was once at this very position, and spelled it so. */
  readonly exact: boolean;
  /**
   * From which of them on the cursors of the pages hold as they are, since before it the feed had just what whoever
   * gets these has then; null where that is never so, as of one who has what was not handed on yet.
   */
  readonly exactFrom: number | null;
}

export interface Ring {
  /** Takes what the feed hands on. */
  add(page: Page): void;
  /** What was handed on so far is a position that this cursor spells, too. */
  mark(cursor: string): void;
  /** Begins anew: nothing before this cursor can be had. */
  restart(cursor: string): void;
  /** What is missing from a position; null where the ring does not reach back that far. */
  missing(cursor: string, position: Position): Missing | null;
  /** What it takes in memory, about. */
  readonly bytes: number;
}

interface Entry {
  readonly xid: bigint;
  readonly id: bigint;
  readonly parts: number;
  readonly skipParts: number;
  readonly pages: Page[];
  /** The highest xid up to and with this entry. */
  readonly highest: bigint;
  /** The cursors of positions that lack this entry and all that follow, and nothing else; not those within a read. */
  readonly cursors: readonly string[];
  bytes: number;
}

/** A cursor, and its position once somebody has asked for it. */
interface Marked {
  readonly cursor: string;
  position: Position | null;
}

/** How many spellings of one position are known: without commits it is spelled anew by each read. */
const MAX_SPELLINGS = 100;
const NO_CURSORS: readonly string[] = [];
/** What a change, a page and a cursor cost beside their text, about. */
const OVERHEAD_BYTES = 200;

/** Creates an empty ring, which serves nothing until it is restarted. */
export function createRing(maxBytes: number): Ring {
  /** Those before `head` are gone. Entries are numbered as they come; `first` is the number of the one at `head`. */
  let entries: (Entry | undefined)[] = [];
  let head = 0;
  let first = 0;
  let bytes = 0;
  /** A commit is under way that is larger than the ring. */
  let skipping = false;
  /** The cursor of whoever has got all that is gone. */
  let floor: Marked | null = null;
  /** By cursor, the number of the first entry that it lacks. Those within a read, of which there are many, are found by id. */
  const numbers = new Map<string, number>();
  /** Cursors that lack nothing. */
  let latest: string[] = [];
  /** The last of them that there was. */
  let newest: Marked = { cursor: '', position: null };
  let remembered: { cursor: string; end: number; missing: Missing | null } | null = null;

  const end = () => first + entries.length - head;

  function mark(cursor: string): void {
    newest = { cursor, position: null };
    if (numbers.has(cursor)) return;
    numbers.set(cursor, end());
    latest.push(cursor);
    bytes += cursor.length + OVERHEAD_BYTES;
    if (latest.length > MAX_SPELLINGS) forget(latest.shift() ?? '');
  }

  function forget(cursor: string): void {
    if (numbers.delete(cursor)) bytes -= cursor.length + OVERHEAD_BYTES;
  }

  function restart(cursor: string): void {
    first = end() + 1;
    entries = [];
    head = 0;
    bytes = 0;
    skipping = false;
    numbers.clear();
    latest = [];
    floor = { cursor, position: null };
    mark(cursor);
  }

  function dropOldest(): void {
    const oldest = entries[head];
    if (!oldest) return;
    bytes -= oldest.bytes;
    oldest.cursors.forEach(forget);
    floor = { cursor: oldest.pages.at(-1)?.cursor ?? '', position: null };
    entries[head] = undefined;
    head++;
    first++;
    if (head > 1000 && head > entries.length / 2) {
      entries = entries.slice(head);
      head = 0;
    }
  }

  function search(position: Position): Missing | null {
    if (floor === null) return null;
    if (!contains(position, positionOf(floor))) return null;
    const commits: RingCommit[] = [];
    /** Beyond the last that the position has, it lacks all. */
    let beyond: number | null = null;
    for (let i = entries.length - 1; i >= head; i--) {
      const entry = entries[i];
      const isLast = !entry || entry.highest < position.snapshot.xmin;
      const had = isLast ? Number.POSITIVE_INFINITY : partsIn(position, entry.xid, entry.id);
      if (!isLast && had < entry.parts) {
        // Whoever has a part of it must not get that again.
        if (had > entry.skipParts) return null;
        commits.push(entry);
      } else beyond ??= commits.length;
      if (isLast) break;
    }
    // Who has what was not handed on yet gets it later, and has it then already.
    const hasMore = position.partial !== null || !contains(positionOf(newest), position);
    const exactFrom = hasMore ? null : commits.length - (beyond ?? commits.length);
    return { commits: commits.reverse(), exact: false, exactFrom };
  }

  /** The number of the first entry that a cursor lacks, of a position that the feed was once at. */
  function numberOf(cursor: string, position: Position): number | undefined {
    const number = cursor === floor?.cursor ? first : numbers.get(cursor);
    const reading = position.readings.at(-1);
    if (number !== undefined || reading === undefined) return number;
    const place = placeOf(reading.id);
    return entries[place]?.pages.at(-1)?.cursor === cursor ? first + place + 1 - head : undefined;
  }

  /** Where an id is. Within a read they ascend; else they may not, and it may be elsewhere. */
  function placeOf(id: bigint): number {
    let low = head;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = entries[middle];
      if (entry !== undefined && entry.id < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function open(page: Page): Entry {
    const { xid, id, parts, skipParts } = page;
    const before = entries.at(-1)?.highest ?? 0n;
    const entry: Entry = {
      xid,
      id,
      parts,
      skipParts,
      pages: [page],
      highest: xid > before ? xid : before,
      cursors: latest.length === 0 ? NO_CURSORS : latest,
      bytes: 0,
    };
    if (latest.length > 0) latest = [];
    entries.push(entry);
    return entry;
  }

  return {
    get bytes() {
      return bytes;
    },
    mark,
    restart,
    add(page) {
      if (floor === null) return;
      remembered = null;
      if (page.first) skipping = false;
      const entry = skipping ? undefined : page.first ? open(page) : entries.at(-1);
      if (entry !== undefined) {
        if (!page.first) entry.pages.push(page);
        let size = page.cursor.length + OVERHEAD_BYTES;
        for (const { wire } of page.changes) size += wire.length + OVERHEAD_BYTES;
        if (page.message !== null) size += page.message.wire.length + OVERHEAD_BYTES;
        entry.bytes += size;
        bytes += size;
        while (bytes > maxBytes && entries.length - head > 1) dropOldest();
        skipping = bytes > maxBytes;
        if (skipping) entry.pages.length = 0;
      }
      if (!page.last) return;
      if (skipping || entry === undefined) restart(page.cursor);
      else if (isInRead(page.cursor)) newest = { cursor: page.cursor, position: null };
      else mark(page.cursor);
    },
    missing(cursor, position) {
      const number = numberOf(cursor, position);
      if (number !== undefined) {
        return { commits: present(entries.slice(head + number - first)), exact: true, exactFrom: 0 };
      }
      if (remembered?.cursor !== cursor || remembered.end !== end()) {
        remembered = { cursor, end: end(), missing: search(position) };
      }
      return remembered.missing;
    },
  };
}

function positionOf(marked: Marked): Position {
  marked.position ??= readCursor(marked.cursor).position;
  return marked.position;
}

function present(entries: readonly (Entry | undefined)[]): Entry[] {
  return entries.filter((entry) => entry !== undefined);
}
