/**
 * The outlook: what the listener's session looks at with each of its checks, so that no other query has to.
 *
 * It says in which database the session is, and when a watched table has another name, other columns or other
 * settings, which nothing else tells of.
 */
import { TABLES_STATE } from './catalog.ts';
import { STREAM } from './log.ts';

/** The stream and the state of the tables, parted by a space. */
export const OUTLOOK = `select concat(${STREAM}, ' ', (${TABLES_STATE})) from rowcast.install i`;

export interface Outlook {
  /** Takes a value of `OUTLOOK`. */
  see(value: string): void;
  /** The stream of the database that is listened to; empty before the first check. */
  readonly stream: string;
}

export function createOutlook({ onTablesChanged }: { onTablesChanged(): void }): Outlook {
  let stream = '';
  let tables: string | undefined;
  return {
    get stream() {
      return stream;
    },
    see(value) {
      const [itsStream = '', itsTables = ''] = value.split(' ');
      const isOther = tables !== undefined && itsTables !== tables;
      stream = itsStream;
      tables = itsTables;
      if (isOther) onTablesChanged();
    },
  };
}
