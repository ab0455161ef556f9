/** Who writes: roles without any right on schema rowcast, and hostile ones. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type pg from 'pg';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';

const role = `rowcast_test_writer_${randomBytes(6).toString('hex')}`;
let database: Database;
let log: Captured;
let writer: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
  writer = await database.client();
  await log.writer.query(`
    create role ${role};
    create table notes (id int primary key, body text);
    create table parts (id int primary key, body text) partition by range (id);
    create table part partition of parts default;
    select rowcast.watch('notes'), rowcast.watch('parts');
    grant all on notes, parts, part to ${role};
    create schema evil authorization ${role};
    revoke all on schema rowcast from public;
    revoke all on all functions in schema rowcast from public;
    revoke all on all tables in schema rowcast from public;
    revoke all on all sequences in schema rowcast from public`);
  await writer.query(`set role ${role}`);
});
afterAll(async () => {
  await writer.end();
  await log.writer.query(`drop owned by ${role} cascade; drop role ${role}`);
  await log.close();
  await database.drop();
});

/** Every way into the log: quick and not, small and spilled, early and late, direct and through triggers. */
const WORKS = [
  `insert into public.notes values (1, 'a')`,
  `update public.notes set body = 'b'`,
  `begin; insert into public.notes values (2, 'c'); savepoint s; delete from public.notes; rollback to s;
   set constraints all immediate; update public.notes set body = 'd'; commit`,
  `insert into public.notes select n, 'many' from generate_series(10, 1000) n`,
  'delete from public.notes',
  'truncate public.notes',
  `insert into public.part values (1, 'a')`,
  `update public.part set body = 'b'`,
  `insert into public.parts values (2, 'a'); update public.parts set body = 'c'`,
  'truncate public.part',
];
const COUNTS = [1, 1, 3, 991, 993, 1, 1, 1, 3, 2];

async function writeAll(): Promise<number[]> {
  const counts: number[] = [];
  for (const work of WORKS) {
    const [commit, ...more] = await log.of(() => writer.query(work));
    counts.push(more.length === 0 ? (commit?.changes.length ?? 0) : -1);
  }
  return counts;
}

describe('a writer without rights on schema rowcast', () => {
  it('is captured in every way', async () => {
    expect(await writeAll()).toEqual(COUNTS);
  });

  it('can neither read nor write the log, nor call anything', async () => {
    for (const sql of [
      'select * from rowcast.log',
      `insert into rowcast.log (slot, id, xid, at, body) values (0, 1, '1', now(), '')`,
      'select * from rowcast.watched',
      `select rowcast.add_lines(0, '0 i public.notes')`,
      `select rowcast.prune('0')`,
      `select rowcast.watch('public.notes')`,
    ]) {
      await expect(writer.query(sql)).rejects.toMatchObject({ code: '42501' });
    }
  });

  it('cannot put the triggers of rowcast on a table of his own, even with rights on the schema', async () => {
    await log.writer.query(`grant usage on schema rowcast to ${role}`);
    await writer.query('create table evil.mine (id int primary key)');
    for (const name of ['capture_insert', 'capture_row', 'end_transaction']) {
      await expect(
        writer.query(
          `create trigger t after insert on evil.mine for each row execute function rowcast.${name}()`,
        ),
      ).rejects.toMatchObject({ code: '42501' });
    }
    await log.writer.query(`revoke usage on schema rowcast from ${role}`);
    await writer.query('drop table evil.mine');
  });
});

describe('a fresh installation', () => {
  it('lets nobody else run what captures, nor prune', async () => {
    const fresh = await createDatabase();
    const { rows } = await fresh.query(`
      select proname from pg_proc p where pronamespace = 'rowcast'::regnamespace and prosecdef
        and has_function_privilege('public', p.oid, 'execute')`);
    expect(rows).toEqual([]);
    await fresh.drop();
  });
});

describe('a hostile writer', () => {
  it('whose search_path shadows functions and operators: nothing of his runs as the owner', async () => {
    const spied = [
      ['set_config', 'text, text, boolean', 'text', 'pg_catalog.set_config($1, $2, $3)'],
      ['current_setting', 'text, boolean', 'text', 'pg_catalog.current_setting($1, $2)'],
      ['concat', 'variadic text[]', 'text', `pg_catalog.array_to_string($1, '')`],
      ['to_jsonb', 'anyelement', 'jsonb', 'pg_catalog.to_jsonb($1)'],
      ['to_json', 'timestamptz', 'json', 'pg_catalog.to_json($1)'],
      ['pg_notify', 'text, text', 'void', 'pg_catalog.pg_notify($1, $2)'],
      ['pg_trigger_depth', '', 'int', 'pg_catalog.pg_trigger_depth()'],
      ['octet_length', 'text', 'int', 'pg_catalog.octet_length($1)'],
      ['nextval', 'regclass', 'bigint', 'pg_catalog.nextval($1)'],
      ['split_part', 'text, text, int', 'text', 'pg_catalog.split_part($1, $2, $3)'],
      ['clock_timestamp', '', 'timestamptz', 'pg_catalog.clock_timestamp()'],
      ['pg_current_xact_id', '', 'xid8', 'pg_catalog.pg_current_xact_id()'],
      ['pg_current_wal_insert_lsn', '', 'pg_lsn', 'pg_catalog.pg_current_wal_insert_lsn()'],
      ['strpos', 'text, text', 'int', 'pg_catalog.strpos($1, $2)'],
      ['hashtext', 'text', 'int', 'pg_catalog.hashtext($1)'],
      [
        'pg_try_advisory_xact_lock_shared',
        'int, int',
        'boolean',
        'pg_catalog.pg_try_advisory_xact_lock_shared($1, $2)',
      ],
    ] as const;
    await writer.query(`
      create table evil.ran (as_role text, what text); grant insert, select on evil.ran to public;
      grant usage on schema evil to public`);
    for (const [name, takes, gives, real] of spied) {
      await writer.query(`create function evil.${name}(${takes}) returns ${gives} language plpgsql as $f$ begin
        insert into evil.ran values (current_user, '${name}');
        return ${gives === 'void' ? '' : real}; end $f$`);
    }
    for (const [place, [symbol, left, right, gives]] of [
      ['=', 'text', 'text', 'boolean'],
      ['<>', 'text', 'text', 'boolean'],
      ['=', 'int', 'int', 'boolean'],
      ['<', 'int', 'int', 'boolean'],
      ['>', 'int', 'int', 'boolean'],
      ['<', 'timestamptz', 'timestamptz', 'boolean'],
      ['+', 'timestamptz', 'interval', 'timestamptz'],
      ['->', 'jsonb', 'text', 'jsonb'],
      ['-', 'pg_lsn', 'pg_lsn', 'numeric'],
      ['||', 'text', 'text', 'text'],
    ].entries()) {
      const name = `op_${place}`;
      await writer.query(`
        create function evil.${name}(${left}, ${right}) returns ${gives} language plpgsql as $f$ begin
          insert into evil.ran values (current_user, '${symbol}'); return $1 operator(pg_catalog.${symbol}) $2; end $f$;
        create operator evil.${symbol} (leftarg = ${left}, rightarg = ${right}, function = evil.${name})`);
    }
    // Types are looked up by the search path as well.
    await writer.query(`create function evil.typed() returns boolean language plpgsql as $f$ begin
      insert into evil.ran values (current_user, 'a type'); return true; end $f$`);
    for (const type of [
      'int2',
      'int4',
      'int8',
      'bool',
      'text',
      'tid',
      'pg_lsn',
      'jsonb',
      'xid8',
      'timestamptz',
    ]) {
      await writer.query(`create domain evil.${type} as pg_catalog.${type} check (evil.typed())`);
    }
    await writer.query('set search_path = evil, pg_catalog, public');
    expect(await writeAll()).toEqual(COUNTS);
    const { rows } = await log.writer.query('select distinct as_role, what from evil.ran');
    // Not even as himself: all that runs with his search path names everything in full.
    expect(rows).toEqual([]);

    // And the spies do work.
    await writer.query(`select concat('a', 'b'), 'a' = 'b'::text`);
    const { rows: seen } = await log.writer.query('select distinct what from evil.ran order by what');
    expect(seen).toEqual([{ what: '=' }, { what: 'a type' }, { what: 'concat' }]);
    await writer.query('reset search_path');
  });

  it('whose temporary objects shadow those of rowcast', async () => {
    await log.writer.query(
      `grant temporary on database ${new URL(database.url).pathname.slice(1)} to ${role}`,
    );
    await writer.query(`
      create temporary table log (slot int2, id bigint, xid xid8, part int, at timestamptz, chunks int, body text);
      create temporary table pg_class (oid oid, relispartition boolean);
      create temporary table relation (relation regclass); set search_path = pg_temp, public`);
    expect(await writeAll()).toEqual(COUNTS);
    expect((await writer.query('select * from pg_temp.log')).rows).toEqual([]);
  });
});
