-- rowcast: tables with partitions or children.
--
-- A statement on the watched table itself is captured by its own triggers, whatever partitions the rows are in. What
-- is written to a partition directly is captured row by row, by a trigger that PostgreSQL gives to each partition,
-- to those attached later too.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create or replace function rowcast.begin_tree_statement() returns trigger language plpgsql as $$
begin
  if pg_catalog.current_setting('rowcast.state', true) operator(pg_catalog.<>) '' then
    declare
      setting pg_catalog.text := pg_catalog.concat('rowcast.running_', pg_catalog.pg_trigger_depth(), '_', tg_relid, '_', tg_op);
      done    pg_catalog.text;
    begin
      done := pg_catalog.set_config(setting, pg_catalog.concat(pg_catalog.pg_current_wal_insert_lsn() operator(pg_catalog.-) '0/0'::pg_catalog.pg_lsn, ' ',
                pg_catalog.current_setting(setting, true)), true);
    end;
  end if;
  perform pg_catalog.set_config('rowcast.covered', pg_catalog.concat(pg_catalog.current_setting('rowcast.covered', true), '[', tg_relid, ':', pg_catalog.pg_trigger_depth(), ']'), true);
  return new;
end $$;
comment on function rowcast.begin_tree_statement() is
  'Trigger before each statement on a watched table with partitions or children: takes its ticket, and notes that its rows are captured as the table''s.';

create or replace function rowcast.end_tree_statement() returns trigger language plpgsql as $$
declare
  covered pg_catalog.text := pg_catalog.current_setting('rowcast.covered', true);
  -- What a foreign key cascades to begins one deeper than it ends. One of this depth may be around it, or has written
  -- all its rows as well.
  mark    pg_catalog.text := pg_catalog.concat('[', tg_relid, ':', pg_catalog.pg_trigger_depth() operator(pg_catalog.+) 1, ']');
  place   pg_catalog.int4 := pg_catalog.strpos(covered, mark);
begin
  if place operator(pg_catalog.=) 0 then
    mark := pg_catalog.concat('[', tg_relid, ':', pg_catalog.pg_trigger_depth(), ']');
    place := pg_catalog.strpos(covered, mark);
  end if;
  if place operator(pg_catalog.>) 0 then
    perform pg_catalog.set_config('rowcast.covered', pg_catalog.overlay(covered, '', place, pg_catalog.length(mark)), true);
  end if;
  return new;
end $$;
comment on function rowcast.end_tree_statement() is 'Trigger after each statement on a watched table with partitions or children.';

create or replace function rowcast.capture_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  root    regclass := rowcast.root(tg_relid);
  ticket  bigint   := pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
  shape   record;
  old_row jsonb;
  new_row jsonb;
  old_key jsonb;
  new_key jsonb;
  lines   text;
begin
  if root is null then
    return new; -- a child no longer
  end if;
  shape := rowcast.part_shape(root, tg_relid);
  if tg_op <> 'INSERT' then
    old_row := to_jsonb(old);
    old_key := rowcast.key_of(old_row, shape.keys);
    old_row := rowcast.published(old_row, shape.columns);
  end if;
  if tg_op <> 'DELETE' then
    new_row := to_jsonb(new);
    new_key := rowcast.key_of(new_row, shape.keys);
    new_row := rowcast.published(new_row, shape.columns);
  end if;
  if old_key = new_key then
    if old_row::text <> new_row::text then
      lines := concat(ticket, ' u ', root::oid, ' ', root, E'\t"key":', new_key, ',"new":', new_row, ',"old":', rowcast.changed(old_row, new_row), E'\n');
    end if;
  else
    if old_key is not null then
      lines := concat(ticket, ' d ', root::oid, ' ', root, E'\t"key":', old_key, ',"old":', old_row, E'\n');
    end if;
    if new_key is not null then
      lines := concat(lines, ticket, ' i ', root::oid, ' ', root, E'\t"key":', new_key, ',"new":', new_row, E'\n');
    end if;
  end if;
  perform rowcast.add_lines(ticket, coalesce(lines, ''));
  perform rowcast.order_at_the_end(tg_relid);
  return new;
end $$;
comment on function rowcast.capture_row() is 'Trigger after each row written to a partition or child directly: captured as a change of the watched table.';

create or replace function rowcast.capture_part_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  root   regclass := rowcast.root(tg_relid);
  ticket bigint   := pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
  shape  record;
  gone   record;
begin
  if root is null or strpos(coalesce(current_setting('rowcast.covered', true), ''), concat('[', root::oid, ':')) > 0 then
    return new; -- the watched table itself is truncated
  end if;
  shape := rowcast.part_shape(root, tg_relid);
  for gone in execute format('select to_jsonb(t.*) as j from only %s t', tg_relid::regclass) loop
    perform rowcast.add_lines(ticket, concat(ticket, ' d ', root::oid, ' ', root, E'\t"key":', rowcast.key_of(gone.j, shape.keys), ',"old":', rowcast.published(gone.j, shape.columns), E'\n'));
  end loop;
  return new;
end $$;
comment on function rowcast.capture_part_truncate() is
  'Trigger before a TRUNCATE of one partition or child: its rows are deleted from the watched table.';

-- As rowcast.pin does.
do $$
declare
  trigger_function text;
begin
  foreach trigger_function in array '{capture_row,capture_part_truncate}'::text[] loop
    execute format('alter function rowcast.%I() set timezone = ''UTC''', trigger_function);
    execute format('alter function rowcast.%I() set intervalstyle = ''postgres''', trigger_function);
    execute format('alter function rowcast.%I() set bytea_output = ''hex''', trigger_function);
    execute format('alter function rowcast.%I() set extra_float_digits = 1', trigger_function);
    execute format('alter function rowcast.%I() set datestyle = ''ISO, MDY''', trigger_function);
    execute format('alter function rowcast.%I() set lc_monetary = ''C''', trigger_function);
  end loop;
end $$;

revoke all on function rowcast.capture_row(), rowcast.capture_part_truncate() from public;

insert into rowcast.migration (name) values ('009_trees') on conflict do nothing;
commit;
