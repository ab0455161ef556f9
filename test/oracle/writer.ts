/** A writer of the oracle: random transactions of every kind on a table that all writers share. */
import pg from 'pg';
import { TELLING_BY_TRIED } from '../harness/telling.ts';
import { pause } from './pause.ts';
import type { Random } from './random.ts';

const ROWS = 60;
const MOST_OWED_MS = 1_000;

/** How a writer goes about it. */
export interface Manner {
  /** It writes for so long, and then writes nothing for so long, together with all others. */
  readonly burstMs?: number;
  /** Its transactions begin so far from each other, on average: what was missed is caught up with. */
  readonly everyMs?: number;
  /** How often it has its constraints fired, and then lingers for up to a second before it commits. */
  readonly lingers?: number;
}

/** Writes until it is told to stop, whatever happens to its connections. Gives how many commits were answered. */
export function write(
  url: string,
  random: Random,
  goOn: () => boolean,
  manner: Manner = {},
): Promise<number> {
  return repeat(url, goOn, manner, (client) => transaction(client, random, manner));
}

/** The same for one row, as often as it can: what makes NOTIFYs come thick. */
export function pulse(url: string, id: number, goOn: () => boolean, manner: Manner): Promise<number> {
  return repeat(url, goOn, manner, async (client) => {
    await client.query(next(id));
    await pause(5);
    return true;
  });
}

/** The same in pairs, while all others rest too: the first of a pair hesitates, and the second must not overtake it. */
export function straggle(url: string, id: number, goOn: () => boolean): Promise<number> {
  return repeat(url, goOn, {}, async (client) => {
    await client.query(`set oracle.hesitation to 0.5; ${next(id)}`);
    await client.query(`set oracle.hesitation to 0; ${next(id)}`);
    await pause(20);
    return true;
  });
}

const next = (id: number) => `insert into item (id, version) values (${id}, 1)
  on conflict (id) do update set version = item.version + 1`;

async function repeat(
  url: string,
  goOn: () => boolean,
  { burstMs, everyMs = 0 }: Manner,
  work: (client: pg.Client) => Promise<boolean>,
): Promise<number> {
  let client: pg.Client | null = null;
  let committed = 0;
  let due = performance.now();
  while (goOn()) {
    if (performance.now() < due) {
      await pause(1);
      continue;
    }
    due = Math.max(due, performance.now() - MOST_OWED_MS) + everyMs;
    if (burstMs !== undefined && Math.floor(performance.now() / burstMs) % 2 === 1) {
      await pause(5);
      continue;
    }
    try {
      client ??= await open(url);
      if (await work(client)) committed++;
    } catch {
      // Deadlocks, serialization failures, terminated backends, restarts: the next transaction is another.
      if (client !== null) await close(client);
      client = null;
    }
  }
  if (client !== null) await close(client);
  return committed;
}

async function open(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'oracle writer',
    connectionTimeoutMillis: 3000,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function close(client: pg.Client): Promise<void> {
  await client.end().catch(() => undefined);
}

async function transaction(client: pg.Client, random: Random, { lingers = 0 }: Manner): Promise<boolean> {
  const isolation = random.pick([
    '',
    '',
    '',
    ' isolation level repeatable read',
    ' isolation level serializable',
  ]);
  if (random.chance(0.3)) {
    await client.query(statement(random));
    return true;
  }
  await client.query(`begin${isolation}`);
  const statements = 1 + random.below(6);
  for (let n = 0; n < statements; n++) {
    if (random.chance(0.2)) await client.query('savepoint s');
    await client.query(statement(random));
    if (random.chance(0.1)) await client.query('savepoint t; rollback to t');
    if (random.chance(0.05)) await client.query('set constraints all immediate');
    if (random.chance(0.1)) await client.query(`savepoint u; ${statement(random)}; rollback to u`);
  }
  if (random.chance(0.02)) await client.query(big(random));
  if (random.chance(lingers)) {
    await client.query('set constraints all immediate');
    await pause(50 + random.below(950));
  }
  if (random.chance(0.1)) {
    await client.query('rollback');
    return false;
  }
  await client.query('commit');
  return true;
}

/** Every statement that changes a row raises its version by one, or inserts it at 1. */
function statement(random: Random): string {
  const id = random.below(ROWS);
  const room = random.below(4);
  const filler = random.chance(0.05) ? `repeat('x', ${random.below(9000)})` : `'${random.below(1000)}'`;
  const upsert = `insert into item (id, version, room, filler) values (${id}, 1, ${room}, ${filler})
    on conflict (id) do update set version = item.version + 1, room = excluded.room, filler = excluded.filler`;
  const kind = random.below(100);
  if (kind < 45) return upsert;
  if (kind < 65) return `update item set version = version + 1, room = ${room} where id = ${id}`;
  if (kind < 75) return `delete from item where id = ${id}`;
  if (kind < 82) return `update item set version = version + 1 where id between ${id} and ${id + 5}`;
  // Moves a row to a free key, and takes its version along.
  if (kind < 87)
    return `update item set id = ${id}, version = version + 1 where id = ${random.below(ROWS)} and not exists (select from item where id = ${id})`;
  // The AFTER trigger of the table changes the row once more.
  if (kind < 93) return `update item set version = version + 1, twice = true where id = ${id}`;
  if (kind < 95) return `delete from item where id > ${ROWS - random.below(5)}`;
  if (kind === 95 && random.chance(0.1)) return 'truncate item';
  return `update item set filler = filler where id = ${id}`;
}

/** A commit that is too large for a NOTIFY. */
function big(random: Random): string {
  const from = 1000 + random.below(20) * 300;
  return `insert into item (id, version, room, filler) select i, 1, i % 4, repeat('y', 50) from generate_series(${from}, ${from + 299}) i
    on conflict (id) do update set version = item.version + 1`;
}

/** The table of the oracle, and a trigger on it that changes the row again. */
export const SCHEMA = `
  create table item (id int primary key, version int not null, room int not null default 0, filler text, twice boolean not null default false);
  create function again() returns trigger language plpgsql as $$ begin
    update item set version = version + 1, twice = false where id = new.id; return null; end $$;
  create trigger again after update on item for each row when (new.twice) execute function again();
  select rowcast.watch('item', access => 'public');
  create table aside (id int generated always as identity primary key);
  select rowcast.watch('aside')`;

/** Makes writers linger, now and then, after each lock that they test: what the leader does, it does meanwhile too. */
export const HESITATION = `
  create function tried(lock int) returns boolean language plpgsql as $$
  declare got boolean := pg_try_advisory_xact_lock_shared(hashtext('rowcast'), lock);
  begin
    if random() < coalesce(nullif(current_setting('oracle.hesitation', true), ''), '0.02')::float then
      perform pg_sleep(random() * 0.12);
    end if;
    return got;
  end $$;
  ${TELLING_BY_TRIED}`;
