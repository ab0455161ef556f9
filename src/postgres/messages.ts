/** Messages into the log, by the functions of the migrations. */
import pg from 'pg';
import { reasonOf } from '../observation.ts';
import { ProtocolError } from '../protocol.ts';

export interface Messages {
  /** Commits a JSON array of messages. Rejects with `bad_frame` where PostgreSQL cannot store one, else with its error. */
  write(messages: string): Promise<void>;
  /** Tells all instances, as JSON. */
  announce(what: string): Promise<void>;
  /** How many instances are connected to this database. */
  instances(): Promise<number>;
}

/** Each of them leads, or waits to. */
const INSTANCES = `select count(*)::int from pg_stat_activity
  where datname = current_database() and application_name = 'rowcast leader'`;

export function createMessages(pool: Pick<pg.Pool, 'query'>): Messages {
  return {
    async write(messages) {
      try {
        await pool.query('select rowcast.relay($1)', [messages]);
      } catch (error) {
        // Class 22: a value that the types cannot hold, such as a NUL character or a number of a million digits.
        if (error instanceof pg.DatabaseError && error.code?.startsWith('22') === true) {
          throw new ProtocolError('bad_frame', `PostgreSQL cannot store the message: ${reasonOf(error)}`, {
            cause: error,
          });
        }
        throw error;
      }
    },
    async announce(what) {
      await pool.query('select rowcast.announce($1)', [what]);
    },
    async instances() {
      const { rows } = await pool.query<{ count: number }>(INSTANCES);
      return rows[0]?.count ?? 0;
    },
  };
}
