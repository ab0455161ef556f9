/** The doctor's check of the notification queue, which all databases of a server share: what fills it, and who. */
import type pg from 'pg';
import type { Found } from './finding.ts';

const HALF = 0.5;

/** The sessions whose transactions have been open longest; who listens among them keeps the queue. */
const OLDEST = `
  select pid, coalesce(datname, '') as database, coalesce(usename, '') as "user", coalesce(nullif(application_name, ''), 'no name') as name,
         coalesce(state, 'unknown') as state, extract(epoch from clock_timestamp() - xact_start)::int as seconds
    from pg_stat_activity
   where backend_type = 'client backend' and xact_start is not null and pid <> pg_backend_pid()
   order by xact_start limit 3`;

const FIND =
  'which a member of pg_monitor finds: select pid, usename, xact_start from pg_stat_activity where xact_start is not null order by xact_start; then: select pg_terminate_backend(pid)';

interface Session {
  pid: number;
  database: string;
  user: string;
  name: string;
  state: string;
  seconds: number;
}

export async function checkQueue(client: pg.Client): Promise<Found> {
  const { rows } = await client.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  const usage = rows[0]?.usage ?? 0;
  const found = `the notification queue is ${(usage * 100).toFixed(1)} % full`;
  if (usage < HALF) return { found };
  const sessions = await client.query<Session>(OLDEST);
  const who = sessions.rows.map(
    ({ pid, database, user, name, state, seconds }) =>
      `pid ${pid} (${user} in ${database}, ${name}, ${state}, for ${seconds} s)`,
  );
  // A role sees its own sessions, and those of others as a member of pg_read_all_stats.
  const pid = sessions.rows[0]?.pid;
  const oldest = who.length > 0 ? `; the oldest transactions: ${who.join(', ')}` : '';
  return {
    found: `${found}, and a full one fails commits${oldest}`,
    remedy: `end the session that LISTENs and sits in an open transaction, ${pid === undefined ? FIND : `most likely the oldest: select pg_terminate_backend(${pid})`}`,
  };
}
