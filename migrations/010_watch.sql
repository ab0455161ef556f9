-- rowcast: what a database's owner calls: watch, unwatch, and the view watched.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create or replace function rowcast.drop_triggers(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ours record;
begin
  for ours in
    select t.tgname, t.tgrelid::regclass as on_table
      from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where p.pronamespace = 'rowcast'::regnamespace and not t.tgisinternal and t.tgparentid = 0
       and (t.tgrelid = relation or (t.tgname in ('!rowcast_row', 'rowcast_part_truncate')
            and t.tgrelid in (with recursive down (relid) as (
                                select inhrelid from pg_inherits where inhparent = relation
                                union all select i.inhrelid from down d join pg_inherits i on i.inhparent = d.relid)
                              select relid from down)))
  loop
    execute format('drop trigger %I on %s', ours.tgname, ours.on_table);
  end loop;
end $$;
comment on function rowcast.drop_triggers(regclass) is 'Removes rowcast''s triggers from a table and what is below it.';

drop function if exists rowcast.create_triggers(regclass, text);
create or replace function rowcast.create_triggers(relation regclass, capture_number bigint, quick_key text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  is_tree   boolean := exists (select from pg_inherits where inhparent = relation)
                       or (select relkind = 'p' from pg_class where oid = relation);
  arguments text    := coalesce(quote_literal(quick_key), '');
  uncovered text    := format('strpos(coalesce(current_setting(''rowcast.covered'', true), ''''), concat(''['', %L::regclass::oid, '':'', pg_trigger_depth() + 1, '']'')) = 0', relation);
  part      record;
begin
  execute format('create trigger rowcast_begin before insert or update or delete or truncate on %s for each statement execute function rowcast.%I()',
                 relation, case when is_tree then 'begin_tree_statement' else 'begin_statement' end);
  execute format('create trigger rowcast_insert after insert on %s referencing new table as new_rows for each statement execute function rowcast.%I(%s)', relation, 'capture_insert_' || capture_number, arguments);
  execute format('create trigger rowcast_update after update on %s referencing old table as old_rows new table as new_rows for each statement execute function rowcast.%I(%s)', relation, 'capture_update_' || capture_number, arguments);
  execute format('create trigger rowcast_delete after delete on %s referencing old table as old_rows for each statement execute function rowcast.%I(%s)', relation, 'capture_delete_' || capture_number, arguments);
  execute format('create trigger rowcast_truncate after truncate on %s for each statement execute function rowcast.capture_truncate()', relation);
  if not is_tree then
    return;
  end if;
  execute format('create trigger rowcast_end after insert or update or delete or truncate on %s for each statement execute function rowcast.end_tree_statement()', relation);
  -- Triggers of a row fire by name: this one before those that may change the row again.
  if (select relkind = 'p' from pg_class where oid = relation) then
    execute format('create trigger "!rowcast_row" after insert or update or delete on %s for each row when (%s) execute function rowcast.capture_row()', relation, uncovered);
  end if;
  for part in
    with recursive down (relid) as (
      select inhrelid from pg_inherits where inhparent = relation
      union select i.inhrelid from down d join pg_inherits i on i.inhparent = d.relid)
    select d.relid::regclass as name, c.relkind, c.relispartition from down d join pg_class c on c.oid = d.relid
  loop
    if not part.relispartition then
      execute format('create trigger "!rowcast_row" after insert or update or delete on %s for each row when (%s) execute function rowcast.capture_row()', part.name, uncovered);
    end if;
    if part.relkind = 'r' then
      execute format('create trigger rowcast_part_truncate before truncate on %s for each statement execute function rowcast.capture_part_truncate()', part.name);
    end if;
  end loop;
end $$;
comment on function rowcast.create_triggers(regclass, bigint, text) is
  'Creates rowcast''s triggers on a table. capture_number: that of the functions written for it. quick_key: the key, where it is one column and all columns are published.';

create or replace function rowcast.attribute_numbers(relation regclass, names text[], what text) returns int2[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  numbers int2[];
  missing text[];
begin
  select array_agg(a.attnum order by n.place), array_agg(n.name order by n.place) filter (where a.attnum is null)
    into numbers, missing
    from unnest(names) with ordinality n (name, place)
    left join pg_attribute a on a.attrelid = relation and a.attname = n.name and a.attnum > 0 and not a.attisdropped;
  if missing is not null then
    raise exception 'rowcast.watch: % has no column %', relation, (select string_agg(coalesce(quote_ident(m), 'null'), ', ') from unnest(missing) m)
      using errcode = 'undefined_column', hint = format('It was named in %s. The table has: %s.', what,
        (select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attrelid = relation and attnum > 0 and not attisdropped));
  end if;
  return numbers;
end $$;
comment on function rowcast.attribute_numbers(regclass, text[], text) is 'The numbers of named columns. Raises undefined_column naming those that are not there.';

create or replace function rowcast.table_shape(relation regclass) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
    'table', (select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1),
    'columns', (select jsonb_agg(jsonb_build_array(a.attnum, a.attname, format_type(a.atttypid, a.atttypmod)) order by a.attnum)
                  from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped))
$$;
comment on function rowcast.table_shape(regclass) is 'The name of a table, and its columns by number, name and type.';

create or replace function rowcast.watch(
  relation regclass, columns text[] default null, key text[] default null,
  access text default 'authenticated', scope jsonb default null
) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  kind     record;
  computed text[];
  odd      text[];
  nullable text[];
begin
  if relation is null then
    raise exception 'rowcast.watch: no table is named' using errcode = 'null_value_not_allowed', hint = 'For example: rowcast.watch(''orders'').';
  end if;
  select c.relkind, c.relpersistence, n.nspname, c.relname into kind from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation;
  if not found then
    raise exception 'rowcast.watch: there is no table with the oid %', relation::oid
      using errcode = 'undefined_table', hint = 'Name the table, as SQL does: rowcast.watch(''orders'').';
  elsif kind.relkind not in ('r', 'p') then
    raise exception 'rowcast.watch: % is not a table', relation
      using errcode = 'wrong_object_type', hint = 'Only ordinary and partitioned tables can be watched; for a view, watch the tables below it.';
  elsif kind.relpersistence <> 'p' then
    raise exception 'rowcast.watch: % is temporary or unlogged', relation
      using errcode = 'wrong_object_type', hint = 'Such a table is emptied without a trace. ALTER TABLE … SET LOGGED first.';
  elsif kind.nspname in ('rowcast', 'pg_catalog', 'information_schema') and (kind.nspname, kind.relname) <> ('rowcast', 'presence') then
    raise exception 'rowcast.watch: % is %''s own', relation, case kind.nspname when 'rowcast' then 'rowcast' else 'PostgreSQL' end
      using errcode = 'wrong_object_type', hint = 'Watch tables of your own.';
  elsif rowcast.root(relation) <> relation then
    raise exception 'rowcast.watch: % is part of %, which is watched already', relation, rowcast.root(relation)
      using errcode = 'object_in_use', hint = 'Its rows are published as that table''s. Unwatch that one first.';
  end if;

  if key is null then
    select array_agg(a.attname::text order by k.place) into key
      from pg_index i, unnest(i.indkey::int2[]) with ordinality k (number, place), pg_attribute a
     where i.indrelid = relation and i.indisprimary and a.attrelid = relation and a.attnum = k.number and k.place <= i.indnkeyatts;
    if key is null then
      raise exception 'rowcast.watch: % has no primary key, so its rows cannot be told apart', relation
        using errcode = 'invalid_table_definition',
              hint = format('Add one (ALTER TABLE %1$s ADD PRIMARY KEY (…)), or name columns that are unique together: rowcast.watch(%1$L, key => array[''…'']).', relation);
    end if;
  elsif cardinality(key) = 0 then
    raise exception 'rowcast.watch: the key of % names no column', relation
      using errcode = 'invalid_parameter_value', hint = 'Name columns that are unique together, or leave the key out for the primary key.';
  end if;
  perform rowcast.attribute_numbers(relation, key, 'key');

  if (select count(distinct k) < cardinality(key) from unnest(key) k) then
    raise exception 'rowcast.watch: the key of % names a column twice', relation
      using errcode = 'invalid_parameter_value', hint = 'Name each column once.';
  end if;
  if not exists (
    select from pg_index i where i.indrelid = relation and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
       and (i.indkey::int2[])[0:i.indnkeyatts - 1] <@ rowcast.attribute_numbers(relation, key, 'key'))
  then
    raise warning 'rowcast.watch: no unique index makes the key of % unique: rows that share a key cannot be told apart by subscribers', relation
      using hint = format('CREATE UNIQUE INDEX ON %s (%s).', relation, (select string_agg(quote_ident(k), ', ' order by place) from unnest(key) with ordinality k (k, place)));
  end if;
  select array_agg(quote_ident(a.attname) order by a.attnum) into nullable
    from pg_attribute a join pg_type t on t.oid = a.atttypid
   where a.attrelid = relation and a.attname = any (key) and not a.attnotnull and not t.typnotnull;
  if nullable is not null then
    raise warning 'rowcast.watch: columns of the key of % may be null: %; rows where they are cannot be told apart by subscribers', relation, array_to_string(nullable, ', ')
      using hint = format('ALTER TABLE %s %s.', relation, (select string_agg(format('ALTER COLUMN %s SET NOT NULL', n), ', ') from unnest(nullable) n));
  end if;

  -- Triggers see the columns that are stored.
  select array_agg(a.attname::text order by a.attnum) into computed
    from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated = 'v';
  if computed && (columns || key) then
    raise exception 'rowcast.watch: % has virtual generated columns among those named: %', relation, array_to_string(computed, ', ')
      using errcode = 'feature_not_supported', hint = 'Triggers do not see them. Make them STORED, or leave them out.';
  elsif computed is not null and columns is null then
    select array_agg(a.attname::text order by a.attnum) into columns
      from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v';
    raise notice 'rowcast.watch: virtual generated columns of % are not published: %', relation, array_to_string(computed, ', ');
  end if;
  if columns is not null then
    perform rowcast.attribute_numbers(relation, columns, 'columns');
    if (select count(distinct c) < cardinality(columns) from unnest(columns) c) then
      raise exception 'rowcast.watch: the columns of % name one twice', relation
        using errcode = 'invalid_parameter_value', hint = 'Name each column once.';
    elsif not columns @> key then
      raise exception 'rowcast.watch: the key of % must be among the published columns', relation
        using errcode = 'invalid_parameter_value', hint = format('The key is: %s.', array_to_string(key, ', '));
    end if;
  end if;

  -- A line of the log has a tab after the name of its table, and a newline at its end.
  select array_agg(to_json(name)::text) into odd
    from unnest(array[kind.nspname, kind.relname]::text[] || coalesce(columns,
           (select array_agg(a.attname::text) from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped))) name
   where name ~ '[\u0001-\u001f\u007f]';
  if odd is not null then
    raise exception 'rowcast.watch: names with control characters cannot be published: %', array_to_string(odd, ', ')
      using errcode = 'invalid_name', hint = 'Rename the schema, table or column (ALTER … RENAME), or leave the column out.';
  end if;

  if access is null or access not in ('public', 'authenticated', 'scoped') and not (access = 'channel' and kind.nspname = 'rowcast') then
    raise exception 'rowcast.watch: access % is none of public, authenticated, scoped', coalesce(quote_literal(access), 'null')
      using errcode = 'invalid_parameter_value', hint = 'public: anyone may read the table; authenticated: whoever has a valid token; scoped: the rows that a scope gives.';
  elsif (access = 'scoped') <> (scope is not null) then
    raise exception 'rowcast.watch: access scoped and a scope go together'
      using errcode = 'invalid_parameter_value', hint = 'For example: access => ''scoped'', scope => ''{"customer_id":"sub"}''.';
  elsif scope is not null then
    if jsonb_typeof(scope) <> 'object' or scope = '{}' or exists (select from jsonb_each(scope) e where jsonb_typeof(e.value) <> 'string') then
      raise exception 'rowcast.watch: a scope binds columns to claims' using errcode = 'invalid_parameter_value', hint = 'For example: ''{"customer_id":"sub"}''.';
    end if;
    perform rowcast.attribute_numbers(relation, (select array_agg(k) from jsonb_object_keys(scope) k), 'scope');
    if columns is not null and not columns @> (select array_agg(k) from jsonb_object_keys(scope) k) then
      raise exception 'rowcast.watch: the columns of a scope must be among the published columns'
        using errcode = 'invalid_parameter_value', hint = 'Add them to columns, or leave columns out to publish all.';
    end if;
  end if;

  -- Writers wait while this lock is held: it is short, and is not waited for long.
  if current_setting('lock_timeout') = '0' then
    perform set_config('lock_timeout', '3s', true);
  end if;
  perform pg_advisory_xact_lock(hashtext('rowcast'), 2);
  insert into rowcast.relation as r (relation, columns, column_numbers, key, key_numbers, numbered, access, scope, since, shape)
    values (relation, columns, rowcast.attribute_numbers(relation, columns, 'columns'), key, rowcast.attribute_numbers(relation, key, 'key'),
            relation, access, scope, pg_current_xact_id(), rowcast.table_shape(relation))
    on conflict on constraint relation_pkey do update set columns = excluded.columns, column_numbers = excluded.column_numbers, key = excluded.key,
      key_numbers = excluded.key_numbers, numbered = excluded.numbered, access = excluded.access, scope = excluded.scope, shape = excluded.shape,
      -- What was published before stays in the log for a while: nobody resumes to where a column was that is not any more.
      since = case when r.key = excluded.key and (excluded.columns is null or excluded.columns @> r.columns) then r.since else excluded.since end;
  perform rowcast.drop_triggers(relation);
  perform rowcast.create_triggers(relation, rowcast.write_captures(relation), case when cardinality(key) = 1 and columns is null then key[1] end);
  perform rowcast.tell_watching(relation, 'w');
end $$;
comment on function rowcast.watch(regclass, text[], text[], text, jsonb) is
  'Publishes the changes of a table. columns: those to publish (null: all, later ones too). key: what tells rows apart (null: the primary key). access: who may read it: public, authenticated (a valid token) or scoped. scope: columns bound to claims of the token, {"customer_id":"sub"}. Called again, it changes the settings; and after a child table was added, or a partition that is going to be truncated by itself. Takes SHARE ROW EXCLUSIVE on the table (called again, ACCESS EXCLUSIVE) until the transaction ends, so writers wait: call it in a transaction of its own; gives up on the lock after lock_timeout, or 3 s where that is 0. Raises null_value_not_allowed, undefined_table, undefined_column, wrong_object_type, object_in_use, invalid_table_definition, invalid_parameter_value, invalid_name, feature_not_supported, each with a hint. Warns where the key is not unique or may be null.';

create or replace function rowcast.unwatch(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if relation is null then
    raise exception 'rowcast.unwatch: no table is named' using errcode = 'null_value_not_allowed', hint = 'For example: rowcast.unwatch(''orders'').';
  elsif not exists (select from rowcast.relation r where r.relation = relation) then
    raise exception 'rowcast.unwatch: % is not watched', relation
      using errcode = 'undefined_object', hint = 'rowcast.watched lists the tables that are.';
  end if;
  if current_setting('lock_timeout') = '0' then
    perform set_config('lock_timeout', '3s', true);
  end if;
  perform pg_advisory_xact_lock(hashtext('rowcast'), 2);
  perform rowcast.tell_watching(relation, 'x');
  perform rowcast.drop_triggers(relation);
  delete from rowcast.relation r where r.relation = relation;
  perform rowcast.drop_captures();
end $$;
comment on function rowcast.unwatch(regclass) is
  'Publishes a table no longer: removes the triggers and settings, and ends its subscriptions. Takes ACCESS EXCLUSIVE on the table until the transaction ends; gives up on it after lock_timeout, or 3 s where that is 0. Raises undefined_object when the table is not watched, null_value_not_allowed when none is named.';

create or replace function rowcast.tell_watching(relation regclass, operation text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ticket bigint := pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
begin
  perform rowcast.add_lines(ticket, concat(ticket, ' ', operation, ' ', relation::oid, ' ', relation, E'\t\n'));
end $$;
comment on function rowcast.tell_watching(regclass, text) is 'Tells running instances, in the order of commits, that the settings of a table changed (w) or are gone (x).';

create or replace view rowcast.watched as
  select r.relation as "table",
         coalesce(rowcast.current_names(r.relation, r.columns, r.column_numbers, r.numbered),
                  (select array_agg(a.attname::text order by a.attnum) from pg_attribute a where a.attrelid = r.relation and a.attnum > 0 and not a.attisdropped)) as columns,
         r.columns is null as all_columns,
         rowcast.current_names(r.relation, r.key, r.key_numbers, r.numbered) as key,
         r.access, r.scope, r.since,
         (select count(*) = 5 and bool_and(t.tgenabled in ('O', 'A'))
            from pg_trigger t where t.tgrelid = r.relation and t.tgname in ('rowcast_begin', 'rowcast_insert', 'rowcast_update', 'rowcast_delete', 'rowcast_truncate')) as capturing
    from rowcast.relation r
   where exists (select from pg_class c where c.oid = r.relation);
comment on view rowcast.watched is
  'The tables that are watched: published columns and key by the names they have now (null: dropped), who may read, since which transaction, and whether all triggers are in place and enabled.';

insert into rowcast.migration (name) values ('010_watch') on conflict do nothing;
commit;
