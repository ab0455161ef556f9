/** Pages of a logged commit, made as its lines are read: two bodies of the log at the most are in memory. */
import { type Page, readLines, type TableChange } from '../commit.ts';
import type { LoggedCommit } from '../postgres/log.ts';

/** A page whose cursor is its receiver's to give. */
export interface RawPage extends Omit<Page, 'cursor'> {
  /** How many changes of the commit came before it. */
  readonly offset: number;
  /** The commit changed what is watched; known on the last page. */
  readonly watchingChanged: boolean;
}

const PAGE_CHARS = 256 * 1024;

/** The pages in order, the last one known as such; a commit without changes has one, empty. */
export async function* pagesOf({ xid, id, at, parts, bodies }: LoggedCommit): AsyncIterable<RawPage> {
  let changes: TableChange[] = [];
  let chars = 0;
  let offset = 0;
  let watchingChanged = false;
  const page = (last: boolean): RawPage => ({
    xid,
    id,
    at: utc(at),
    parts,
    changes,
    first: offset === 0,
    last,
    offset,
    watchingChanged,
  });
  for await (const body of bodies()) {
    const lines = readLines(body);
    watchingChanged ||= lines.watchingChanged;
    for (const change of lines.changes) {
      // A page ends when there is more.
      if (chars > PAGE_CHARS) {
        yield page(false);
        offset += changes.length;
        changes = [];
        chars = 0;
      }
      changes.push(change);
      chars += change.wire.length;
    }
  }
  yield page(true);
}

/** A time as `to_json` writes it, with whatever offset its session has, in RFC 3339 and UTC, to the microsecond. */
export function utc(at: string): string {
  const match = /^(.{19})(?:\.(\d+))?(Z|[+-]\d\d(?::?\d\d)?(?::?\d\d)?)$/.exec(at);
  if (!match) return at;
  const [, seconds = '', fraction = '', offset = 'Z'] = match;
  const zone = offset === 'Z' || /^[+-]\d\d:\d\d$/.test(offset) ? offset : `${offset.slice(0, 3)}:00`;
  const isUtc = zone === 'Z' || zone === '+00:00';
  const whole = isUtc ? seconds : new Date(`${seconds}${zone}`).toISOString().slice(0, 19);
  return `${whole}.${fraction.padEnd(6, '0')}Z`;
}
