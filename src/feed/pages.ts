/** Pages of a logged commit, made as its lines are read: two bodies of the log at the most are in memory. */
import {
  type Line,
  type Lines,
  linesIn,
  type Message,
  type Page,
  readLines,
  type TableChange,
} from '../commit.ts';
import type { LoggedCommit } from '../postgres/log.ts';

/** A page whose cursor is its receiver's to give. */
export interface RawPage extends Omit<Page, 'cursor'> {
  /** How many lines of the commit came before it. */
  readonly offset: number;
  /** The commit changed what is watched; known on the last page, as what was announced. */
  readonly watchingChanged: boolean;
  /** What it tells all instances, as JSON. */
  readonly announced: readonly string[];
}

const PAGE_CHARS = 256 * 1024;

export type Commit = Pick<LoggedCommit, 'xid' | 'id' | 'at' | 'parts' | 'skipParts'>;

/** Gathers lines into pages. */
class Pages {
  readonly #commit: Commit;
  #changes: TableChange[] = [];
  #message: Message | null = null;
  #chars = 0;
  #offset = 0;
  watchingChanged = false;
  announced: string[] = [];

  constructor(commit: Commit) {
    this.#commit = commit;
  }

  /** Whether the next line begins another page. */
  get isFull(): boolean {
    return this.#message !== null || this.#chars > PAGE_CHARS;
  }

  add(line: Line): void {
    if (line.op === 'message') this.#message = line;
    else this.#changes.push(line);
    this.#chars += line.wire.length;
  }

  /** The page so far; the next begins after it. */
  take(last: boolean, changesFollow: boolean): RawPage {
    const { at, ...commit } = this.#commit;
    const { watchingChanged, announced } = this;
    const lines = { changes: this.#changes, message: this.#message };
    const offset = this.#offset;
    this.#changes = [];
    this.#message = null;
    this.#chars = 0;
    this.#offset += linesIn(lines);
    const place = { changesFollow, first: offset === 0, last, offset };
    return { ...commit, at: utc(at), ...lines, ...place, watchingChanged, announced };
  }
}

/** The pages in order, the last one known as such; a commit without lines has one, empty. */
export async function* pagesOf({ bodies, ...commit }: LoggedCommit): AsyncIterable<RawPage> {
  const pages = new Pages(commit);
  for await (const body of bodies()) {
    const { lines, watchingChanged, announced } = readLines(body);
    pages.watchingChanged ||= watchingChanged;
    pages.announced.push(...announced);
    for (const line of lines) {
      if (pages.isFull) yield pages.take(false, true);
      pages.add(line);
    }
  }
  yield pages.take(true, false);
}

/** The same of lines that are all there. */
export function pagesIn(commit: Commit, { lines, watchingChanged, announced }: Lines): RawPage[] {
  const pages = new Pages(commit);
  pages.watchingChanged = watchingChanged;
  pages.announced = [...announced];
  const taken: RawPage[] = [];
  const lastChange = lines.findLastIndex(({ op }) => op !== 'message');
  for (const [n, line] of lines.entries()) {
    if (pages.isFull) taken.push(pages.take(false, n <= lastChange));
    pages.add(line);
  }
  taken.push(pages.take(true, false));
  return taken;
}

const IN_UTC = '2026-11-24T08:05:03.000001+00:00';

/** A time as `to_json` writes it, with whatever offset its session has, in RFC 3339 and UTC, to the microsecond. */
export function utc(at: string): string {
  // As most sessions have it. Joined, since added up it would keep the line that it is of.
  if (at.length === IN_UTC.length && at.endsWith('+00:00')) return [at.slice(0, -6), 'Z'].join('');
  const match = /^(.{19})(?:\.(\d+))?(Z|[+-]\d\d(?::?\d\d)?(?::?\d\d)?)$/.exec(at);
  if (!match) return at;
  const [, seconds = '', fraction = '', offset = 'Z'] = match;
  const zone = offset === 'Z' || /^[+-]\d\d:\d\d$/.test(offset) ? offset : `${offset.slice(0, 3)}:00`;
  const isUtc = zone === 'Z' || zone === '+00:00';
  const whole = isUtc ? seconds : new Date(`${seconds}${zone}`).toISOString().slice(0, 19);
  return `${whole}.${fraction.padEnd(6, '0')}Z`;
}

const SECONDS = '2026-11-24T08:05:03'.length;
const MS = SECONDS + '.000'.length;
/** Many commits are of one second. */
let second = { text: '', ms: 0 };

/** Milliseconds since the epoch of what `utc` gives. */
export function msOf(at: string): number {
  if (!at.endsWith('Z') || at.charAt(SECONDS) !== '.') return Date.parse(at);
  if (!at.startsWith(second.text) || second.text === '') {
    const text = at.slice(0, SECONDS);
    second = { text, ms: Date.parse(`${text}Z`) };
  }
  return second.ms + Number(at.slice(SECONDS + 1, MS));
}
