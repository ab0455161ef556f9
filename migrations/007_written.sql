-- rowcast: the triggers that are written for each watched table.
--
-- Most transactions are one statement of one row. What they cost is mostly the making ready of each function, operator and
-- node of a plan anew, so the quick way has as few as can be: it is written with the table's own names and types. It holds
-- as long as the table is what it was then; that is a constant of the plan, which PostgreSQL makes anew when the table is
-- altered. Then all go the long way, which looks up what the table is like, until the triggers are written again: by
-- rowcast.watch, or by the next rowcast.prune.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create sequence if not exists rowcast.capture_number;
comment on sequence rowcast.capture_number is 'Numbers for the functions that are written for tables: an oid is another table''s after a dump and restore.';
do $$
begin
  if not exists (select from pg_attribute where attrelid = 'rowcast.relation'::regclass and attname = 'written_for') then
    alter table rowcast.relation add column capture_number bigint unique, add column written_for text, add column written_by text;
  end if;
end $$;
comment on column rowcast.relation.capture_number is 'The number in the names of the functions that were written for the table; null where an earlier version watched it.';
comment on column rowcast.relation.written_for is 'What the table was like when they were written (rowcast.likeness).';
comment on column rowcast.relation.written_by is 'What wrote them (rowcast.writing).';

-- ── What a table is like ───────────────────────────────────────────────────────────────────────────────────────

-- Volatile, to look with a snapshot of its own: that of a statement may be from before the table was altered, where a foreign
-- key cascades to it.
create or replace function rowcast.likeness(relation oid) returns text
language sql volatile set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
  select md5(concat_ws(' ', $1, $1::regclass, (select c.relhassubclass from pg_class c where c.oid = $1), rowcast.waits_at_the_end($1),
               (select string_agg(concat_ws(' ', a.attnum, to_json(a.attname), a.atttypid, a.attnotnull, a.attgenerated), ',' order by a.attnum)
                  from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped)))
$$;
comment on function rowcast.likeness(oid) is 'Tells a table whose name, columns or their types are other ones from what it was.';

-- Immutable for as long as a plan lives: what alters the table makes every plan with its name, a regclass, anew.
create or replace function rowcast.is_like(relation regclass, likeness text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select rowcast.likeness($1) = $2
$$;
comment on function rowcast.is_like(regclass, text) is 'Whether a table is what it was when its triggers were written. Not by a snapshot that may be from before it was altered.';

create or replace function rowcast.settings_of(type oid) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  t pg_type;
begin
  select * into t from pg_type where pg_type.oid = type;
  if t.typtype = 'd' then
    return rowcast.settings_of(t.typbasetype);
  elsif t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A' then
    return rowcast.settings_of(t.typelem);
  elsif type in ('bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype, 'text'::regtype, 'varchar'::regtype,
      'bpchar'::regtype, 'name'::regtype, '"char"'::regtype, 'uuid'::regtype, 'jsonb'::regtype, 'date'::regtype, 'time'::regtype, 'timestamp'::regtype,
      'inet'::regtype, 'cidr'::regtype, 'macaddr'::regtype, 'macaddr8'::regtype, 'bit'::regtype, 'varbit'::regtype)
  then
    return '{}';
  elsif type = 'timestamptz'::regtype then
    return '{timezone}';
  elsif type = 'json'::regtype then
    return '{jsonb}';
  elsif type in ('float4'::regtype, 'float8'::regtype) then
    return '{jsonb,extra_float_digits}';
  elsif type = 'interval'::regtype then
    return '{intervalstyle}';
  elsif type = 'bytea'::regtype then
    return '{bytea_output}';
  end if;
  return '{jsonb,timezone,intervalstyle,bytea_output,extra_float_digits,datestyle,lc_monetary,search_path}';
end $$;
comment on function rowcast.settings_of(oid) is
  'The settings that the JSON of a type''s values depends on; all of them where it is not known. And `jsonb` where to_json says of a value what to_jsonb does not.';

create or replace function rowcast.table_settings(relation oid) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(distinct s.setting), '{}')
    from pg_attribute a, unnest(rowcast.settings_of(a.atttypid)) s (setting) where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
$$;
comment on function rowcast.table_settings(oid) is 'rowcast.settings_of all columns of a table.';

-- ── What is written ────────────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.writing() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select md5(string_agg(p.prosrc, '' order by p.proname)) from pg_proc p
   where p.pronamespace = 'rowcast'::regnamespace
     and p.proname in ('capture_insert', 'capture_update', 'capture_delete', 'settings_of', 'table_settings', 'without_hidden', 'value_source', 'members_source',
                       'line_source', 'rows_source', 'pinned_source', 'nothing_source', 'first_source', 'further_source', 'quick_source', 'write_captures')
$$;
comment on function rowcast.writing() is 'Tells a version of what writes the triggers from another.';

create or replace function rowcast.write_captures(relation regclass) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  settings  text;
  operation text;
  number    bigint;
begin
  update rowcast.relation r
     set capture_number = coalesce(r.capture_number, nextval('rowcast.capture_number')), written_for = rowcast.likeness($1), written_by = rowcast.writing()
   where r.relation = $1 returning r.capture_number into number;
  select string_agg(format(' set %s = %s', s.name, s.value), '' order by s.name) into settings
    from (values ('timezone', '''UTC'''), ('intervalstyle', '''postgres'''), ('bytea_output', '''hex'''), ('extra_float_digits', '1'),
                 ('datestyle', '''ISO, MDY'''), ('lc_monetary', '''C'''), ('search_path', 'pg_catalog, pg_temp')) s (name, value)
   where s.name = any (rowcast.table_settings($1))
     -- The time zone alone is pinned by the quick ways, where it has to be.
     and rowcast.table_settings($1) <> '{timezone}';
  foreach operation in array '{insert,update,delete}'::text[] loop
    execute format('create or replace function rowcast.%I() returns trigger language plpgsql security definer%s as %L',
                   format('capture_%s_%s', operation, number), settings,
                   replace((select p.prosrc from pg_proc p where p.oid = format('rowcast.capture_%s()', operation)::regprocedure),
                           '-- quick', rowcast.quick_source($1, operation)));
    execute format('comment on function rowcast.%I() is %L', format('capture_%s_%s', operation, number),
                   format('Trigger after each %s on %s, written by rowcast.write_captures.', upper(operation), $1));
    execute format('revoke all on function rowcast.%I() from public', format('capture_%s_%s', operation, number));
  end loop;
  return number;
end $$;
comment on function rowcast.write_captures(regclass) is
  'Writes the three functions that capture a watched table, for what the table is like now; gives the number in their names. Takes no lock on it. Raises when a key column was dropped.';
revoke all on function rowcast.write_captures(regclass) from public;

create or replace function rowcast.renew_captures() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  altered regclass;
begin
  if not pg_try_advisory_xact_lock(hashtext('rowcast'), 2) then
    return; -- rowcast.watch is at it
  end if;
  for altered in
    select r.relation
      from rowcast.relation r join pg_class c on c.oid = r.relation
     where (r.written_for <> rowcast.likeness(r.relation) or r.written_by <> rowcast.writing())
       -- Without its key a table is not captured at all.
       and array_position(rowcast.current_names(r.relation, r.key, r.key_numbers, r.numbered), null) is null
  loop
    begin
      perform rowcast.write_captures(altered);
    exception when others then -- the long way stays
      raise warning 'rowcast: the triggers of % cannot be written: %', altered, sqlerrm;
    end;
  end loop;
  perform rowcast.drop_captures();
end $$;
comment on function rowcast.renew_captures() is
  'Writes the triggers of altered tables again, and removes those of tables that are gone; does nothing while rowcast.watch is at work. rowcast.prune calls it.';
revoke all on function rowcast.renew_captures() from public;

create or replace function rowcast.drop_captures() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  unused regprocedure;
begin
  for unused in
    select p.oid from pg_proc p
     where p.pronamespace = 'rowcast'::regnamespace and p.proname ~ '^capture_(insert|update|delete)_\d+$'
       and not exists (select from pg_trigger t where t.tgfoid = p.oid)
       and not exists (select from rowcast.relation r where p.proname ~ concat('_', r.capture_number, '$'))
  loop
    execute format('drop function %s', unused);
  end loop;
end $$;
comment on function rowcast.drop_captures() is 'Removes the functions of rowcast.write_captures for tables that are watched no longer.';
revoke all on function rowcast.drop_captures() from public;

insert into rowcast.migration (name) values ('007_written') on conflict do nothing;
commit;
