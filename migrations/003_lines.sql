-- rowcast: from rows to lines, the first of the files about capture.
--
-- Statement triggers turn what a statement did into lines (006_capture). The first captured statement of a transaction
-- inserts the transaction's row of the log; what later statements did is gathered in transaction-local settings, so a
-- rolled-back savepoint takes its lines with it, and spilled into rowcast.chunk past a few KB. A deferred constraint trigger
-- on that row, which fires once, at the end, completes the row and sends one NOTIFY (005_commit).
--
-- A line is `ticket operation oid table TAB rest NEWLINE`: the table by its oid, which stays, and by the name that it
-- has then. What a ticket is, and how it orders the lines: 004_order.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

-- ── Tables and their rows ──────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.root(relation oid) returns regclass
language sql stable set search_path = pg_catalog, pg_temp as $$
  with recursive up (relation, depth) as (
    select $1, 0
    union all
    select i.inhparent, up.depth + 1 from up join pg_inherits i on i.inhrelid = up.relation
  )
  select up.relation::regclass from up join rowcast.relation r on r.relation = up.relation order by up.depth limit 1
$$;
comment on function rowcast.root(oid) is 'The watched table that a table is, is a partition of or inherits from; null when there is none.';

create or replace function rowcast.shape(table_name regclass, out keys text[], out columns text[])
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  watched rowcast.relation;
begin
  select * into watched from rowcast.relation r where r.relation = table_name;
  if not found then
    raise exception 'rowcast: % has rowcast''s triggers but is not in rowcast.watched', table_name
      using hint = format('Call rowcast.watch(%L), or rowcast.unwatch(%L) to remove the triggers.', table_name, table_name);
  end if;
  keys := rowcast.current_names(watched.relation, watched.key, watched.key_numbers, watched.numbered);
  if array_position(keys, null) is not null then
    raise exception 'rowcast: a key column of % was dropped, so its rows cannot be told apart any more', table_name
      using hint = format('Call rowcast.watch(%L, key => …) with columns that are there, or rowcast.unwatch(%L).', table_name, table_name);
  end if;
  if watched.columns is not null then
    columns := array_remove(rowcast.current_names(watched.relation, watched.columns, watched.column_numbers, watched.numbered), null);
  end if;
end $$;
comment on function rowcast.shape(regclass) is
  'The columns of the key and the published columns (null: all) of a watched table, by the names they have now. Raises when a key column was dropped.';

create or replace function rowcast.part_shape(table_name regclass, part oid, out keys text[], out columns text[])
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  select s.keys, s.columns into keys, columns from rowcast.shape(table_name) s;
  if columns is null and not (select c.relispartition from pg_class c where c.oid = part) then
    columns := (select array_agg(a.attname::text) from pg_attribute a where a.attrelid = table_name and a.attnum > 0 and not a.attisdropped);
  end if;
end $$;
comment on function rowcast.part_shape(regclass, oid) is
  'The shape of a watched table, for rows of a partition or child: a child may have columns that the watched table has not.';

create or replace function rowcast.current_names(relation oid, names text[], numbers int2[], numbered oid) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  -- By number, which a rename leaves alone; by name after a dump and restore, which gives new numbers.
  select array_agg((select a.attname::text from pg_attribute a
                     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
                       and case when $1 = $4 then a.attnum = n.number else a.attname = n.name end) order by n.place)
    from unnest($2, $3) with ordinality n (name, number, place)
$$;
comment on function rowcast.current_names(oid, text[], int2[], oid) is 'What columns are called now; null for one that was dropped.';

create or replace function rowcast.published(row_json jsonb, names text[]) returns jsonb
language plpgsql immutable as $$
begin
  if names is null then
    return row_json;
  elsif not jsonb_exists_all(row_json, names) then
    perform rowcast.refuse_names(row_json, names);
  end if;
  return (select coalesce(jsonb_object_agg(e.key, e.value), '{}') from jsonb_each(row_json) e where e.key = any (names));
end $$;
comment on function rowcast.published(jsonb, text[]) is
  'The named members of a row; all of them when no names are given. Raises serialization_failure where the row has not all of them.';

create or replace function rowcast.key_of(row_json jsonb, names text[]) returns jsonb
language plpgsql immutable as $$
begin
  if not jsonb_exists_all(row_json, names) then
    perform rowcast.refuse_names(row_json, names);
  end if;
  return (select jsonb_object_agg(name, row_json -> name) from unnest(names) name);
end $$;
comment on function rowcast.key_of(jsonb, text[]) is 'The key of a row. Raises serialization_failure where the row has not all of its columns.';

-- Names are read with the snapshot of the transaction, rows are as the table is.
create or replace function rowcast.refuse_names(row_json jsonb, names text[]) returns void
language plpgsql immutable as $$
begin
  raise exception 'rowcast: a column of a watched table was renamed or dropped after the snapshot of this transaction: %',
    (select string_agg(quote_ident(name), ', ') from unnest(names) name where not jsonb_exists(row_json, name))
    using errcode = 'serialization_failure', hint = 'Try the transaction again.';
end $$;
comment on function rowcast.refuse_names(jsonb, text[]) is 'Raises serialization_failure: a row has not all of the named columns.';

-- The planner takes it apart.
create or replace function rowcast.key_in(row_json jsonb, path text[], keys text[], relation oid) returns jsonb
language sql stable as $$
  select case when jsonb_exists_all($1, $2) then jsonb_set('{}', $2, $1 #> $2)
              else rowcast.key_of($1, coalesce($3, (rowcast.shape($4::regclass)).keys)) end
$$;
comment on function rowcast.key_in(jsonb, text[], text[], oid) is
  'The key of a row of a table: the one column that the path leads to, where there is such a column; else those named, or the table''s where none are.';

create or replace function rowcast.changed(old_json jsonb, new_json jsonb) returns jsonb
language plpgsql immutable as $$
begin
  -- Compared as text: as jsonb, 7 and 7.00 are equal.
  return (select jsonb_object_agg(e.key, e.value) from jsonb_each(old_json) e
           where e.value::text is distinct from (new_json -> e.key)::text);
end $$;
comment on function rowcast.changed(jsonb, jsonb) is
  'The columns of the old row that the new row has otherwise; null when there is none.';

-- ── Values ─────────────────────────────────────────────────────────────────────────────────────────────────────
-- They must not depend on the settings of the writer's session, nor may what is run with the rights of rowcast's owner
-- depend on his search path. Where a function has no SET for it, it pins them itself. These two are named in full.

create or replace function rowcast.pin() returns text[] language plpgsql as $$
declare
  was  pg_catalog.text[] := array[pg_catalog.current_setting('timezone'), pg_catalog.current_setting('intervalstyle'),
    pg_catalog.current_setting('bytea_output'), pg_catalog.current_setting('extra_float_digits'), pg_catalog.current_setting('datestyle'),
    pg_catalog.current_setting('lc_monetary'), pg_catalog.current_setting('search_path')];
  done pg_catalog.text;
begin
  if was operator(pg_catalog.=) '{UTC,postgres,hex,1,"ISO, MDY",C,"pg_catalog, pg_temp"}'::pg_catalog.text[] then
    return null;
  end if;
  done := pg_catalog.concat(pg_catalog.set_config('timezone', 'UTC', true), pg_catalog.set_config('intervalstyle', 'postgres', true),
    pg_catalog.set_config('bytea_output', 'hex', true), pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('datestyle', 'ISO, MDY', true),
    pg_catalog.set_config('lc_monetary', 'C', true), pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true));
  return was;
end $$;
comment on function rowcast.pin() is
  'Pins the settings that values depend on, and the search path; gives what they were, for rowcast.unpin; null where all are that already.';

create or replace function rowcast.unpin(was text[]) returns void language plpgsql as $$
declare
  done pg_catalog.text;
begin
  if was is not null then
    done := pg_catalog.concat(pg_catalog.set_config('timezone', was[1], true), pg_catalog.set_config('intervalstyle', was[2], true),
      pg_catalog.set_config('bytea_output', was[3], true), pg_catalog.set_config('extra_float_digits', was[4], true), pg_catalog.set_config('datestyle', was[5], true),
      pg_catalog.set_config('lc_monetary', was[6], true), pg_catalog.set_config('search_path', was[7], true));
  end if;
end $$;
comment on function rowcast.unpin(text[]) is 'Gives the settings back that rowcast.pin has pinned.';

insert into rowcast.migration (name) values ('003_lines') on conflict do nothing;
commit;
