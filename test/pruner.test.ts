/** Who keeps the log within its size: the leading instance, and nobody beside it. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import pg from 'pg';
import { createPruner, type Pruner } from '../src/postgres/pruner.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { observations } from './harness/facts.ts';

let database: Database;
let pool: pg.Pool;
let pruner: Pruner;
beforeAll(async () => {
  database = await createDatabase();
  pool = new pg.Pool({ connectionString: database.url });
});
afterAll(async () => {
  pruner.stop();
  await pool.end();
  await database.drop();
});

it('calls rowcast.prune after commits while its instance leads, and asks nothing while it does not', async () => {
  const observed = observations();
  let leads = true;
  let asked = 0;
  pool.on('acquire', () => asked++);
  pruner = createPruner({
    pool,
    config: { retentionMs: 86_400_000, retentionBytes: 2 ** 33 },
    isLeading: () => leads,
    observe: observed.observe,
    busyMs: 1,
  });
  async function afterCommit(): Promise<{ bytes: number; asked: number }> {
    const seen = observed.since();
    asked = 0;
    pruner.touch();
    const { bytes } = await seen.next('feed.log_size');
    return { bytes, asked };
  }

  expect(await afterCommit()).toEqual({ bytes: expect.any(Number), asked: 1 });
  leads = false;
  expect(await afterCommit()).toEqual({ bytes: 0, asked: 0 });
  leads = true;
  const { bytes } = await afterCommit();
  expect(bytes).toBeGreaterThan(0);
});
