/**
 * Random transactions on tables with random triggers: what was captured, replayed one change after the other, gives the
 * tables. Each change must follow from what was there: a row is inserted where none is, and what an update or delete
 * says of the row before is so.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Captured, type Change, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { serverMajor } from '../harness/suite.ts';
import { createRandom, type Random } from '../oracle/random.ts';

let database: Database;
let log: Captured;
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
});
afterAll(async () => {
  await log.close();
  await database.drop();
});

const KEYS = 6;
const hasMerge = (await serverMajor()) >= 15;
const TRANSACTIONS = 25;

/** What transactions may have beside plain statements. */
interface Manner {
  readonly functions?: true;
  readonly partitions?: true;
  readonly isolation?: true;
  /** A table c whose foreign key leads to t, and triggers that are deferred. */
  readonly cascades?: true;
}

/** One or two statements on behalf of a row, as a trigger or a function runs them. */
function reaction(random: Random, self: string, other: string): string {
  const id = random.pick(['r.id', 'r.id', 'r.id', `r.id % ${KEYS} + 1`, '1']);
  const table = random.pick([self, self, other]);
  return random.pick([
    `delete from ${table} where id = ${id};`,
    `update ${table} set v = v + 1 where id = ${id};`,
    `update ${table} set v = v + 1 where id > ${id};`,
    `insert into ${table} values (${id}, 100) on conflict (id) do nothing;`,
    `insert into ${table} values (${id}, 100) on conflict (id) do update set v = ${table}.v + 10;`,
    `delete from ${table} where id = ${id}; insert into ${table} values (${id}, r.v);`,
    `if not exists (select from ${table} where id = 7) then update ${table} set id = 7 where id = ${id}; end if;`,
  ]);
}

/** A trigger that reacts a few times in a transaction. */
function trigger(random: Random, name: string, self: string, other: string, { functions }: Manner): string {
  const when = random.pick(['before', 'before', 'after']);
  const each = random.chance(0.85) ? 'row' : 'statement';
  const events = random.pick([
    'insert',
    'insert',
    'update',
    'delete',
    'insert or update',
    'insert or update or delete',
  ]);
  const row = each === 'row' ? `case tg_op when 'DELETE' then old else new end` : 'null';
  const skip = when === 'before' && each === 'row' && random.chance(0.2);
  return `
    create function ${name}() returns trigger language plpgsql as $f$
    declare r record := ${each === 'row' ? row : `(1, 5, '')::t`}; q record;
    begin
      if is_less_than(${1 + random.below(4)}) then
        ${reaction(random, self, other)} ${random.chance(0.3) ? reaction(random, self, other) : ''}
        ${functions && random.chance(0.4) ? `for q in update ${self} set v = v + 1 where id = ${1 + random.below(KEYS)} returning react(id, v) loop end loop;` : ''}
      end if;
      ${skip ? 'if r.v % 5 = 0 then return null; end if;' : ''}
      return ${row};
    end $f$;
    create trigger ${name} ${when} ${events} on ${self} for each ${each} execute function ${name}();`;
}

/** The tables t and u, triggers on them, and a function `react(id, v)`. */
function schema(random: Random, manner: Manner): string {
  const { partitions, cascades } = manner;
  const many = random.pick([0, 0, 3000, 9000]); // so that lines spill, or do not
  const triggers = Array.from({ length: 1 + random.below(3) }, (_, n) =>
    trigger(random, `${random.pick(['a', 'z'])}_${n}`, random.pick(['t', 't', 'u']), 'u', manner),
  );
  return `
    set client_min_messages = warning; drop schema if exists s cascade; create schema s; set search_path = s;
    create table t (id int primary key, v int, filler text default repeat('x', ${many})) ${partitions ? 'partition by range (id)' : ''};
    ${partitions ? 'create table t1 partition of t for values from (0) to (4); create table t2 partition of t for values from (4) to (100);' : ''}
    create table u (id int primary key, v int, filler text default repeat('y', ${many}));
    create function is_less_than(n int) returns boolean language plpgsql as $f$
    declare times int := coalesce(nullif(current_setting('replay.times', true), ''), '0');
    begin
      perform set_config('replay.times', (times + 1)::text, true) where times < n;
      return times < n;
    end $f$;
    create function react(int, int) returns int language plpgsql as $f$
    declare r record := ($1, $2, '')::t;
    begin ${reaction(random, 't', 'u')} return r.id; end $f$;
    ${cascades ? children(random) : ''}
    ${triggers.join('\n')}
    ${random.chance(0.5) ? apart(cascades ? ['t', 'u', 'c'] : ['t', 'u']) : ''}
    select rowcast.watch('t'), rowcast.watch('u') ${cascades ? ", rowcast.watch('c')" : ''}`;
}

/** Has each statement begin at another place of the write-ahead log, as where other sessions write to it. */
function apart(tables: readonly string[]): string {
  return `
    create function apart() returns trigger language plpgsql as
      $f$ begin perform pg_logical_emit_message(false, 'apart', ''); return null; end $f$;
    ${tables.map((table) => `create trigger apart before insert or update or delete on ${table} for each statement execute function apart();`).join('\n')}`;
}

/** The table c, whose rows follow those of t and of each other. */
function children(random: Random): string {
  const action = () => random.pick(['cascade', 'set null', 'cascade']);
  const deferred = random.pick(['', '', 'deferrable initially deferred']);
  return `
    create table c (id int primary key, v int, t int references t on delete ${action()} on update ${action()} ${deferred},
      c int references c on delete ${action()} on update ${action()} ${random.pick(['', deferred])});
    ${trigger(random, 'c_0', 'c', random.pick(['t', 'u']), {})}
    create function seen() returns trigger language plpgsql as $f$ begin return null; end $f$;
    ${random.chance(0.4) ? 'create trigger seen after update on c referencing new table as n for each row execute function seen();' : ''}
    create function late() returns trigger language plpgsql as $f$
    declare r record := case tg_op when 'DELETE' then old else new end;
    begin
      if is_less_than(${1 + random.below(6)}) then ${reaction(random, 't', 'c')} end if;
      return null;
    end $f$;
    create constraint trigger late after insert or update or delete on ${random.pick(['t', 'u', 'c'])}
      deferrable initially ${random.pick(['deferred', 'immediate'])} for each row execute function late();`;
}

function statement(random: Random, { functions, partitions, cascades }: Manner): string {
  const table = random.pick(['t', 't', 'u']);
  const id = 1 + random.below(KEYS);
  const v = random.below(50);
  return random.pick([
    `insert into ${table} values (${id}, ${v})`,
    `insert into ${table} values (${id}, ${v})`,
    `insert into ${table} values (${id}, ${v}), (${(id % KEYS) + 1}, ${v})`,
    `insert into ${table} values (${id}, ${v}) on conflict (id) do update set v = excluded.v`,
    `insert into ${table} values (${id}, ${v}) on conflict do nothing`,
    `update ${table} set v = v + 1 where id = ${id}`,
    `update ${table} set v = v + 1 where id >= ${id}`,
    `update ${table} set id = ${1 + random.below(KEYS)} where id = ${id}`,
    `delete from ${table} where id = ${id}`,
    `delete from ${table} where id >= ${id}`,
    ...(functions
      ? [
          `insert into ${table} select react(${id}, ${v}), 3`,
          `insert into ${table} select react(n, ${v}), n from generate_series(${id}, ${id + 2}) n`,
          `update ${table} set v = react(id, v) where id >= ${id}`,
          `insert into ${table} values (${id}, ${v}) returning react(id, v)`,
          `update ${table} set v = v + 1 where id >= ${id} returning react(id, v)`,
          `with made as (insert into ${table} values (${id}, ${v}) returning *) select react(id, v) from made`,
          `insert into ${table} values (${id}, ${v}), (${(id % KEYS) + 1}, ${v}) on conflict (id) do update set v = excluded.v returning react(id, v)`,
          `delete from ${table} where id >= ${id} returning react(id, v)`,
        ]
      : []),
    ...(cascades
      ? [
          `insert into c values (${id}, ${v}, (select max(id) from t), (select max(id) from c))`,
          `insert into c select id, ${v}, id, (select min(id) from c) from t on conflict do nothing`,
          `update c set id = ${1 + random.below(KEYS)} where id = ${id}`,
          `delete from c where id = ${id}`,
          `delete from t where id = ${id}`,
          `update t set id = ${1 + random.below(KEYS)} where id = ${id}`,
          'truncate c',
          ...(hasMerge
            ? [
                `merge into u using (values (${id}, ${v}), (${(id % KEYS) + 1}, ${v})) n (id, v) on u.id = n.id
             when matched and u.v > 20 then delete when matched then update set v = n.v when not matched then insert values (n.id, n.v)`,
              ]
            : []),
        ]
      : []),
    ...(partitions
      ? [
          `insert into t1 values (1, ${v}) on conflict do nothing`,
          `delete from t2 where id = ${id}`,
          `update t1 set v = v + 1 where id = ${id}`,
        ]
      : []),
  ]);
}

/** One statement, or several of which some may fail. */
function transaction(random: Random, manner: Manner): string {
  const many = random.chance(0.5) ? 1 : 1 + random.below(5);
  const statements = Array.from({ length: many }, () => statement(random, manner));
  const isolation = manner.isolation
    ? random.pick(['read committed', 'repeatable read', 'serializable'])
    : 'read committed';
  const begin = `set transaction isolation level ${isolation}; ${random.chance(0.2) ? 'set constraints all immediate;' : ''}`;
  if (many === 1) return `${isolation === 'read committed' ? '' : begin} ${statements[0]}`;
  const tried = statements.map(
    (one) =>
      `begin execute $q$${one}$q$; exception when integrity_constraint_violation or triggered_data_change_violation or object_in_use or feature_not_supported then null; end;`,
  );
  return `${begin} do $$ begin ${tried.join('\n')} end $$`;
}

type Tables = Record<string, Map<unknown, unknown>>;

/** Does the change; says what is wrong with it, if anything. */
function apply(tables: Tables, { op, table, key, new: row, old }: Change): string | undefined {
  const rows = tables[table.replace('s.', '')];
  if (rows === undefined) return `no table ${table}`;
  if (op === 'truncate') return void rows.clear();
  const id = key?.['id'];
  const was = rows.get(id);
  const told = op === 'insert' ? undefined : op === 'delete' ? old?.['v'] : (old?.['v'] ?? row?.['v']);
  if (op === 'delete') rows.delete(id);
  else rows.set(id, row?.['v']);
  return told === was
    ? undefined
    : `${op} of ${table} ${String(id)}: it says ${String(told)}, it was ${String(was)}`;
}

async function replay(seed: number, manner: Manner): Promise<number> {
  const random = createRandom(seed);
  const made = schema(random, manner);
  await log.writer.query(made);
  const tables: Tables = { t: new Map(), u: new Map(), c: new Map() };
  let committed = 0;
  for (let n = 0; n < TRANSACTIONS; n++) {
    const work = transaction(random, manner);
    // What fails as a whole leaves nothing: that must be so as well.
    const commits = await log.of(() => log.writer.query(work).catch(() => undefined));
    committed += commits.length;
    const changes = commits.flatMap((commit) => commit.changes);
    const wrong = changes.map((change) => apply(tables, change)).find((fault) => fault !== undefined);
    const { rows } = await log.writer.query<{ name: string; id: number; v: number }>(
      `select 't' as name, id, v from t union all select 'u', id, v from u ${manner.cascades ? `union all select 'c', id, v from c` : ''}`,
    );
    const truth: Tables = { t: new Map(), u: new Map(), c: new Map() };
    for (const { name, id, v } of rows) truth[name]?.set(id, v);
    const told = changes.map(({ op, table, key, new: row, old }) =>
      [op, table, key?.['id'], old?.['v'], row?.['v']].join(' '),
    );
    expect({ seed, made, work, told, wrong, tables }).toEqual({
      seed,
      made,
      work,
      told,
      wrong: undefined,
      tables: truth,
    });
  }
  return committed;
}

const seed = Number(process.env['REPLAY_SEED'] ?? Date.now() % 2 ** 31);
const rounds = Number(process.env['REPLAY_ROUNDS'] ?? 8);

describe(`random triggers, replayed, of seed ${seed} and ${rounds - 1} after it`, () => {
  const manners: readonly (readonly [string, Manner])[] = [
    ['plain statements', {}],
    ['functions in the statements', { functions: true }],
    ['partitions, written directly as well', { partitions: true }],
    ['cascades of foreign keys, and deferred triggers', { cascades: true }],
    [
      'all that, at each level of isolation',
      { functions: true, partitions: true, cascades: true, isolation: true },
    ],
  ];
  it.each(manners)('%s', async (_, manner) => {
    let committed = 0;
    for (let n = 0; n < rounds; n++) committed += await replay(seed + n, manner);
    expect(committed).toBeGreaterThan((rounds * TRANSACTIONS) / 4);
  });
});
