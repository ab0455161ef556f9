/** Transactions on a pool: begun, committed, and their connection given back, whatever happens to it. */
import type pg from 'pg';

/**
 * Runs `work`, which begins a transaction with its first query; resolves with what it gives once that is committed.
 * Rejects with the first error; the connection is not used again then.
 */
export function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  return onConnection(pool, async (client) => {
    const result = await work(client);
    await client.query('commit');
    return result;
  });
}

/** The same of work that commits by itself, if it begins a transaction. */
export async function onConnection<T>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  let failed: Error | undefined;
  // Between two queries a lost connection is told as an event; the next query fails with it.
  const onError = (error: Error) => {
    failed = error;
  };
  client.on('error', onError);
  try {
    return await work(client);
  } catch (error) {
    failed ??= error instanceof Error ? error : new Error(String(error));
    throw error;
  } finally {
    client.off('error', onError);
    client.release(failed);
  }
}
