/**
 * The outlook: what the listener's session looks at with each of its checks, so that no other query has to.
 *
 * It says in which database the session is; when a watched table has another name, other columns or other settings,
 * which nothing else tells of; and whether a leader that keeps writers from notifying still does its part.
 */
import { TABLES_STATE } from './catalog.ts';
import { STREAM } from './moment.ts';

/** The backend of a leader that mutes, and does not wait to calm: it reads all the time, and rings. */
const MUTING = `
  select m.pid from pg_locks m
   where (m.locktype, m.database, m.classid, m.objid, m.mode, m.granted) =
         ('advisory', (select oid from pg_database where datname = current_database()), hashtext('rowcast')::oid, 4, 'ExclusiveLock', true)
     and not exists (select from pg_locks b where b.locktype = 'advisory' and b.pid = m.pid and b.objid = 5 and b.mode = 'ExclusiveLock')`;

/** The stream, the state of the tables and the leader that mutes, parted by spaces. */
export const OUTLOOK = `select concat(${STREAM}, ' ', (${TABLES_STATE}), ' ', (${MUTING})) from rowcast.install i`;

export interface Outlook {
  /** Takes a value of `OUTLOOK`. */
  see(value: string): void;
  /** The leader was heard. */
  onRing(): void;
  /** The stream of the database that is listened to; empty before the first check. */
  readonly stream: string;
}

export interface OutlookOptions {
  onTablesChanged(): void;
  /** A leader has muted the writers since before the last check, and not rung since: it is frozen. Gets its backend. */
  onFrozenLeader(pid: number): void;
}

export function createOutlook({ onTablesChanged, onFrozenLeader }: OutlookOptions): Outlook {
  let stream = '';
  let tables: string | undefined;
  let muting = '';
  let rung = false;
  return {
    get stream() {
      return stream;
    },
    onRing() {
      rung = true;
    },
    see(value) {
      const [itsStream = '', itsTables = '', itsMuting = ''] = value.split(' ');
      const isOther = tables !== undefined && itsTables !== tables;
      const isFrozen = itsMuting !== '' && itsMuting === muting && !rung;
      stream = itsStream;
      tables = itsTables;
      muting = itsMuting;
      rung = false;
      if (isOther) onTablesChanged();
      if (isFrozen) onFrozenLeader(Number(itsMuting));
    },
  };
}
