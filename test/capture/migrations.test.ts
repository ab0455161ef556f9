/** The migrations, applied again and by several at once, and the uninstall file, which leaves no trace. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { applyMigrations } from '../harness/migrations.ts';

const uninstall = await readFile(join(process.cwd(), 'migrations', 'uninstall', 'uninstall.sql'), 'utf8');
let database: Database;
beforeAll(async () => {
  database = await createDatabase();
  await database.query(uninstall);
});
afterAll(() => database.drop());

/** Every object of the database with its definition and its rights. */
async function catalog(): Promise<string[]> {
  const { rows } = await database.query<{ object: string }>(`
    with ours (classid, objid, detail) as (
      select 'pg_namespace'::regclass, oid, nspacl::text from pg_namespace
      union all select 'pg_class', oid, concat(relkind, relacl, reloptions) from pg_class where relnamespace <> 'pg_toast'::regnamespace
      union all select 'pg_proc', oid, concat(md5(prosrc), proacl) from pg_proc
      union all select 'pg_type', oid, typtype::text from pg_type where typnamespace <> 'pg_toast'::regnamespace
      union all select 'pg_trigger', oid, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
      union all select 'pg_constraint', oid, pg_get_constraintdef(oid) from pg_constraint
      union all select 'pg_attrdef', oid, '' from pg_attrdef
      union all select 'pg_rewrite', oid, ev_type::text from pg_rewrite
      union all select 'pg_event_trigger', oid, evtevent from pg_event_trigger
      union all select 'pg_default_acl', oid, defaclacl::text from pg_default_acl
      union all select 'pg_extension', oid, extversion from pg_extension
    )
    select concat(pg_describe_object(classid, objid, 0), ' ', detail,
                  ' ', (select count(*) from pg_depend d where (d.classid, d.objid) = (o.classid, o.objid)),
                  ' ', obj_description(objid, (select relname from pg_class where oid = classid))) as object
      from ours o order by 1`);
  return rows.map(({ object }) => object);
}

describe('migrations', () => {
  it('by 4 sessions at once, and again: each applied once, nothing harmed', async () => {
    await Promise.all([1, 2, 3, 4].map(() => applyMigrations(database.url)));
    const { rows } = await database.query('select name from rowcast.migration order by name');
    const names = [
      '001_schema',
      '002_log',
      '003_lines',
      '004_order',
      '005_commit',
      '006_capture',
      '007_written',
      '008_quick',
      '009_trees',
      '010_watch',
      '011_messages',
      '012_presence',
    ];
    expect(rows).toEqual(names.map((name) => ({ name })));

    const log = await captured(database);
    await log.writer.query(`
      create table notes (id int primary key); select rowcast.watch('notes'); insert into notes values (1); select rowcast.prune('0')`);
    const state = `
      select array(select m::text from rowcast.migration m) migrations, (select i::text from rowcast.install i) install, rowcast.slot(),
             array(select l::text from rowcast.log l) log, array(select w::text from rowcast.watched w) watched, array(select s::text from rowcast.log_slot s) slots`;
    const before = [(await database.query(state)).rows, await catalog()];
    expect(before[0]).toMatchObject([{ slot: 1 }]);
    await Promise.all([1, 2, 3, 4].map(() => applyMigrations(database.url)));
    expect([(await database.query(state)).rows, await catalog()]).toEqual(before);
    expect(await log.changes('insert into notes values (2)')).toHaveLength(1);
    await log.close();
    await database.query(`${uninstall}; drop table notes`);
  });

  it('over an earlier version: what it pinned on functions goes, and what there is no longer', async () => {
    await applyMigrations(database.url);
    const functions = `select p.oid::regprocedure::text as name, prosecdef, proconfig from pg_proc p
       where pronamespace = 'rowcast'::regnamespace order by 1`;
    const { rows } = await database.query(functions);
    await database.query(`
      create function rowcast.telling() returns text language sql as 'select null';
      alter function rowcast.end_transaction() set search_path = pg_catalog, pg_temp;
      alter function rowcast.end_transaction() security invoker`);
    await applyMigrations(database.url);
    expect((await database.query(functions)).rows).toEqual(rows);
    await database.query(uninstall);
  });

  it('while writers write', async () => {
    await applyMigrations(database.url);
    const log = await captured(database);
    await log.writer.query(`create table notes (id int primary key); select rowcast.watch('notes')`);
    const commits = await log.of(async () => {
      let done = false;
      const again = applyMigrations(database.url).finally(() => {
        done = true;
      });
      for (let id = 0; !done || id < 20; id++) await log.writer.query(`insert into notes values (${id})`);
      await again;
    });
    const { rows } = await database.query<{ n: number }>('select count(*)::int as n from notes');
    expect(commits).toHaveLength(rows[0]?.n ?? 0);
    await log.close();
    await database.query(`${uninstall}; drop table notes`);
  });
});

describe('every object of rowcast', () => {
  it('has a comment', async () => {
    await applyMigrations(database.url);
    const { rows } = await database.query(`
      select pg_describe_object('pg_proc'::regclass, oid, 0) as bare from pg_proc
       where pronamespace = 'rowcast'::regnamespace and obj_description(oid, 'pg_proc') is null
      union all
      select pg_describe_object('pg_class'::regclass, oid, 0) from pg_class
       where relnamespace = 'rowcast'::regnamespace and relkind in ('r', 'p', 'v', 'S') and not relispartition and obj_description(oid, 'pg_class') is null`);
    expect(rows).toEqual([]);
    await database.query(uninstall);
  });
});

describe('uninstall', () => {
  it('removes everything, and nothing else', async () => {
    await database.query(`
      create schema app; create table app.notes (id int primary key, body text);
      create table app.parts (id int primary key) partition by range (id); create table app.part partition of app.parts default;
      create table app.parent (id int primary key); create table app.child () inherits (app.parent);
      create function app.f() returns trigger language plpgsql as 'begin return new; end';
      create trigger rowcast_lookalike after insert on app.notes for each row execute function app.f()`);
    const before = await catalog();
    await applyMigrations(database.url);
    const log = await captured(database);
    await log.writer.query(`
      select rowcast.watch('app.notes'), rowcast.watch('app.parts'), rowcast.watch('app.parent');
      insert into app.notes values (1); insert into app.part values (1); insert into app.child values (1);
      select rowcast.prune('0'); insert into app.notes values (2); select rowcast.unwatch('app.parent')`);
    expect(await catalog()).not.toEqual(before);
    await log.close();
    await database.query(uninstall);
    await database.query(uninstall);
    expect(await catalog()).toEqual(before);
    await database.query('drop schema app cascade');
  });
});
