/** Who leads, against a real server: one at a time, and the next as soon as it is gone, however it went. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createLeadership, type Leadership, type Locks } from '../src/postgres/leadership.ts';
import { LockSession } from '../src/postgres/lock-session.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { type Observations, observations, until } from './harness/facts.ts';
import { startProxy } from './harness/proxy.ts';

interface Candidate {
  readonly leadership: Leadership;
  readonly seen: Observations;
  readonly locks: () => Locks;
}

let database: Database;
let pool: pg.Pool;
const candidates: Candidate[] = [];
beforeAll(async () => {
  database = await createDatabase();
  pool = new pg.Pool({ connectionString: database.url, max: 2 });
});
afterEach(async () => {
  for (const { leadership } of candidates.splice(0)) await leadership.stop();
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

function candidate(connectionString = database.url): Candidate {
  const seen = observations();
  let current: Locks | null = null;
  const leadership = createLeadership({
    connectionString,
    applicationName: 'candidate',
    pool,
    observe: seen.observe,
    onElected: (locks) => {
      current = locks;
    },
    onDeposed: () => {
      current = null;
    },
  });
  const one = {
    leadership,
    seen,
    locks() {
      if (current === null) throw new Error('it does not lead');
      return current;
    },
  };
  candidates.push(one);
  leadership.start();
  return one;
}

/** The advisory locks that are held or waited for, by number. */
async function locks(): Promise<string[]> {
  const { rows } = await database.query<{ lock: string }>(
    `select objid || case when granted then ' held' else ' wanted' end as lock from pg_locks
      where locktype = 'advisory' and mode = 'ExclusiveLock'
        and database = (select oid from pg_database where datname = current_database()) order by 1`,
  );
  return rows.map(({ lock }) => lock);
}

async function terminateLeader(): Promise<void> {
  await database.query(
    `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 3 and granted
        and database = (select oid from pg_database where datname = current_database())`,
  );
}

const never = new AbortController().signal;
const nothing = async () => undefined;

describe('the lead', () => {
  it('is one candidate’s, and the next one’s as soon as the first one’s session ends', async () => {
    const one = candidate();
    await one.seen.next('leader.elected');
    const other = candidate();
    await until(async () => (await locks()).includes('3 wanted'), { what: 'the other waits' });
    expect([one.leadership.leading, other.leadership.leading]).toEqual([true, false]);
    await terminateLeader();
    await other.seen.next('leader.elected');
    await one.seen.next('leader.deposed');
    expect([one.leadership.leading, other.leadership.leading]).toEqual([false, true]);
    // It stands again, and gets it when the other gives it up.
    const again = one.seen.since();
    await until(async () => (await locks()).includes('3 wanted'), { what: 'the first waits' });
    await other.leadership.stop();
    await again.next('leader.elected');
  });

  it('is given up within ten seconds where the connection goes silent', async () => {
    const proxy = await startProxy(Number(new URL(database.url).port));
    const url = new URL(database.url);
    url.port = String(proxy.port);
    const one = candidate(url.href);
    await one.seen.next('leader.elected');
    const begun = performance.now();
    proxy.silence();
    await one.seen.next('leader.deposed', undefined, 12_000);
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(one.leadership.leading).toBe(false);
    proxy.resume();
    await one.leadership.stop();
    await proxy.close();
  });

  it('is taken by PostgreSQL from a client that is gone without a word, within ten seconds', async () => {
    // Here all addresses are of one machine, which answers for whoever is gone: so what is asked of PostgreSQL.
    const session = new LockSession(database.url, 'candidate', 4_000);
    const set = (name: string) => `current_setting('tcp_${name}')::int`;
    try {
      await session.open();
      await session.answer(`do $$ begin
          assert ${set('keepalives_idle')} > 0 and ${set('keepalives_interval')} > 0
            and ${set('keepalives_idle')} + ${set('keepalives_interval')} * ${set('keepalives_count')} < 10, 'keepalives';
          assert ${set('user_timeout')} between 1 and 9999, 'user timeout';
        end $$`);
    } finally {
      session.end();
    }
  });
});

describe('its locks', () => {
  it('go from calm to mute and back, and end with it', async () => {
    const one = candidate();
    await one.seen.next('leader.elected');
    expect(await one.locks().calm(never, nothing)).toBe(true);
    expect(await locks()).toEqual(['3 held', '6 held']);
    await one.locks().mute();
    expect(await locks()).toEqual(['3 held', '4 held']);
    let during: string[] = [];
    await one.locks().calm(never, async () => {
      during = await locks();
    });
    // While it reads, whoever comes is told to be read.
    expect(during).toEqual(['3 held', '4 held', '5 held']);
    expect(await locks()).toEqual(['3 held', '6 held']);
    await one.locks().mute();
    await one.leadership.stop();
    await until(async () => (await locks()).length === 0, { what: 'all locks are free' });
  });

  it('are given back where what was to be read cannot be, and had again', async () => {
    const one = candidate();
    await one.seen.next('leader.elected');
    const failing = () => Promise.reject(new Error('the log cannot be read'));
    await expect(one.locks().calm(never, failing)).rejects.toThrow('the log cannot be read');
    expect(await locks()).toEqual(['3 held']);
    expect(await one.locks().calm(never, nothing)).toBe(true);
    expect(await locks()).toEqual(['3 held', '6 held']);
  });

  it('are waited for without an end, and the wait is broken when it is aborted', async () => {
    const one = candidate();
    await one.seen.next('leader.elected');
    await one.locks().mute();
    const writer = await database.client();
    await writer.query(`begin; select pg_advisory_xact_lock_shared(hashtext('rowcast'), 5)`);
    const abort = new AbortController();
    const calm = one.locks().calm(abort.signal, () => Promise.reject(new Error('nobody is through')));
    await until(async () => (await locks()).includes('5 wanted'), { what: 'the barrier is waited for' });
    abort.abort();
    expect(await calm).toBe(false);
    expect(await locks()).toEqual(['3 held', '4 held']);
    await writer.query('rollback');
    expect(await one.locks().calm(never, nothing)).toBe(true);
    await writer.end();
  });

  it('are free for the next one, who does not mute, as soon as its session is gone', async () => {
    const one = candidate();
    await one.seen.next('leader.elected');
    await one.locks().mute();
    const other = candidate();
    await until(async () => (await locks()).includes('3 wanted'), { what: 'the other waits' });
    const writer = await database.client();
    await writer.query(`begin; select pg_advisory_xact_lock_shared(hashtext('rowcast'), 5)`);
    const calm = expect(one.locks().calm(never, nothing)).rejects.toThrow('terminat');
    await until(async () => (await locks()).includes('5 wanted'), { what: 'the barrier is waited for' });
    await terminateLeader();
    await calm;
    await other.seen.next('leader.elected');
    await until(async () => (await locks()).includes('3 wanted'), { what: 'the first waits again' });
    expect(await locks()).toEqual(['3 held', '3 wanted']);
    await writer.query('rollback');
    await writer.end();
  });

  it('that are waited for to mute hinder nobody from calming', async () => {
    const one = candidate();
    await one.seen.next('leader.elected');
    const writer = await database.client();
    await writer.query(`begin; select pg_advisory_xact_lock_shared(hashtext('rowcast'), 4)`);
    const muting = one.locks().mute();
    await until(async () => (await locks()).includes('4 wanted'), { what: 'it waits to mute' });
    expect(await one.locks().calm(never, nothing)).toBe(true);
    await muting;
    expect(await locks()).toEqual(['3 held', '6 held']);
    await writer.query('rollback');
    await writer.end();
  });
});
