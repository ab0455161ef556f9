/** Messages into the log, by the functions of the migrations. */
import type pg from 'pg';
import { storing } from './storing.ts';

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
      await storing('the message', pool.query('select rowcast.relay($1)', [messages]));
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
