/**
 * A table as a subscriber knows it: built from frames alone.
 *
 * It throws when a frame does not follow from what came before: a version skipped, repeated or out of order, a row
 * inserted twice or changed before it was there, a transaction split.
 */
import type { Frame } from './socket.ts';

type Row = Record<string, unknown>;
type Change = { op: string; key: Row; new?: Row; old?: Row; effect?: string };

export interface Mirror {
  /** Takes a `change` or `snapshot` frame. */
  take(frame: Frame): void;
  /** The rows by their key, as JSON. */
  readonly rows: ReadonlyMap<string, Row>;
  /** Whole transactions taken. */
  readonly commits: number;
  /** The cursor of the last frame. */
  readonly cursor: string | undefined;
}

/** `version` is a column that each update raises by one. */
export function createMirror(version = 'version'): Mirror {
  const rows = new Map<string, Row>();
  let commits = 0;
  let cursor: string | undefined;

  function apply(change: Change): void {
    const key = JSON.stringify(change.key);
    const known = rows.get(key);
    if (change.op === 'truncate') rows.clear();
    else if (change.op === 'insert') {
      if (known) throw new Error(`inserted twice: ${JSON.stringify(change)}`);
      rows.set(key, change.new ?? {});
    } else if (change.op === 'delete') {
      if (!known) throw new Error(`deleted before it was there: ${JSON.stringify(change)}`);
      if (change.old && change.old[version] !== known[version]) {
        throw new Error(
          `deleted at another version than ${JSON.stringify(known)}: ${JSON.stringify(change)}`,
        );
      }
      rows.delete(key);
    } else {
      const next = change.new ?? {};
      if (!known || next[version] !== Number(known[version]) + 1) {
        throw new Error(`does not follow ${JSON.stringify(known)}: ${JSON.stringify(change)}`);
      }
      rows.set(key, next);
    }
  }

  return {
    rows,
    get commits() {
      return commits;
    },
    get cursor() {
      return cursor;
    },
    take(frame) {
      if (frame.type === 'snapshot') {
        for (const row of frame['rows'] as Row[]) rows.set(JSON.stringify({ id: row['id'] }), row);
      } else {
        for (const change of frame['changes'] as Change[]) apply(change);
        if (frame['more'] !== true) commits++;
      }
      if (typeof frame['cursor'] === 'string') cursor = frame['cursor'];
    },
  };
}
