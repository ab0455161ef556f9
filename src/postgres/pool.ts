/** Pools of connections: named in `pg_stat_activity`, with a deadline for connecting, and heard of when an idle one breaks. */
import pg from 'pg';
import { type Observe, reasonOf } from '../observation.ts';

const CONNECT_MS = 5000;

export interface PoolOptions {
  connectionString: string;
  /** As `pg_stat_activity` shows it. */
  applicationName: string;
  /** The most connections. */
  max: number;
  observe: Observe;
}

/** Creates one; it connects when it is used. */
export function createPool({ connectionString, applicationName, max, observe }: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString,
    application_name: applicationName,
    max,
    connectionTimeoutMillis: CONNECT_MS,
    keepAlive: true,
    allowExitOnIdle: true,
  });
  // One may break in the packet in which it is ready, before whoever asked for it can listen: its next query fails.
  pool.on('connect', (client) => client.on('error', () => undefined));
  pool.on('error', (error) => observe({ type: 'pool.error', error: reasonOf(error) }));
  return pool;
}
