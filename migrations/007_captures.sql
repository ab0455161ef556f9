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
  select md5(concat_ws(' ', $1, $1::regclass, (select c.relhassubclass from pg_class c where c.oid = $1),
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

create or replace function rowcast.without_hidden(relation oid) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((select format(' operator(pg_catalog.-) %L::pg_catalog.text[]', array_agg(a.attname::text order by a.attnum))
                     from pg_attribute a, rowcast.shape($1) s
                    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
                      and (a.attgenerated = 'v' or not a.attname = any (s.columns)) having count(*) > 0), '')
$$;
comment on function rowcast.without_hidden(oid) is 'SQL that takes the columns that are not published, or virtual, from the jsonb of a row before it.';

-- ── What is written ────────────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.value_source(column_of pg_attribute) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  name    text := format('r.%I', column_of.attname);
  is_list boolean := (select t.typcategory = 'A' from pg_type t where t.oid = column_of.atttypid);
begin
  if column_of.atttypid not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then
    name := format('pg_catalog.%I(%s)', case when is_list or 'jsonb' = any (rowcast.settings_of(column_of.atttypid)) then 'to_jsonb' else 'to_json' end, name);
  end if;
  -- A child, or a row from before a constraint that is not valid, may have null all the same.
  if column_of.attnotnull
     and not exists (select from pg_class c where c.oid = column_of.attrelid and c.relhassubclass and c.relkind <> 'p')
     and not exists (select from pg_constraint c where c.conrelid = column_of.attrelid and c.contype = 'n' and not c.convalidated and c.conkey = array[column_of.attnum])
  then
    return name;
  end if;
  return format('coalesce(%s::pg_catalog.text, ''null'')', name);
end $$;
comment on function rowcast.value_source(pg_attribute) is 'SQL for the JSON of a column of a row r, as to_jsonb spells it, of few functions: making one ready costs more than calling it.';

create or replace function rowcast.members_source(relation oid, names text[], opening text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format('%L, %s', concat(case n.place when 1 then $3 || '{' else ', ' end, to_json(n.name), ': '), rowcast.value_source(a)), ', ' order by n.place)
    from unnest($2) with ordinality n (name, place) join pg_attribute a on a.attrelid = $1 and a.attname = n.name
$$;
comment on function rowcast.members_source(oid, text[], text) is
  'SQL arguments of concat for a text, and then the JSON of named columns of a row r, without the brace at its end.';

create or replace function rowcast.line_source(relation regclass, operation text, ticket text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
declare
  opening text := format(E'%s %s %s %s\t"key":', ticket, left(operation, 1), relation::oid, relation);
  image   text := case operation when 'insert' then 'new' else 'old' end;
  shape   record := rowcast.shape(relation);
  members text[] := (select array_agg(a.attname::text order by octet_length(a.attname::text), a.attname) -- as to_jsonb has them
                       from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
                        and (shape.columns is null or a.attname = any (shape.columns)));
begin
  if operation = 'update' then
    return (select string_agg(format('%L, r.new operator(pg_catalog.->) %L', concat(case k.place when 1 then opening || '{' else ', ' end, to_json(k.name), ': '), k.name), ', ' order by k.place)
              from unnest(shape.keys) with ordinality k (name, place)) || $f$, '},"new":', r.new, ',"old":', r.changed, E'\n'$f$;
  end if;
  return rowcast.members_source(relation, shape.keys, opening) || ', ' ||
    -- A function takes a hundred arguments.
    case when 'jsonb' = any (rowcast.table_settings(relation)) or cardinality(shape.keys) + cardinality(members) > 45
         then format($f$'},"%s":', pg_catalog.to_jsonb(r.*)%s, E'\n'$f$, image, rowcast.without_hidden(relation))
         else format($f$%s, E'}\n'$f$, rowcast.members_source(relation, members, format('},"%s":', image))) end;
end $$;
comment on function rowcast.line_source(regclass, text, text) is
  'SQL arguments of concat for the line of a row r, of rowcast.rows_source, that begins with a ticket. Raises when a key column was dropped.';

create or replace function rowcast.rows_source(relation regclass, operation text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case $2 when 'insert' then 'new_rows r' when 'delete' then 'old_rows r' else format($f$(
          select n.j as new,
                 (select pg_catalog.jsonb_object_agg(e.key, e.value) from pg_catalog.jsonb_each(o.j) e
                   where e.value::pg_catalog.text operator(pg_catalog.<>) (n.j operator(pg_catalog.->) e.key)::pg_catalog.text) as changed
            from (select pg_catalog.to_jsonb(o.*)%2$s as j from old_rows o offset 0) o, (select pg_catalog.to_jsonb(n.*)%2$s as j from new_rows n offset 0) n
           where not exists (select from (select from old_rows union all select from new_rows) every offset 2) and %1$s
          offset 0) r$f$,
    (select string_agg(format('o.j operator(pg_catalog.->) %1$L operator(pg_catalog.=) (n.j operator(pg_catalog.->) %1$L)', k), ' and ') from unnest((rowcast.shape($1)).keys) k),
    rowcast.without_hidden($1)) end
$$;
comment on function rowcast.rows_source(regclass, text) is
  'SQL for the rows r of a statement, an insert, update or delete. Of an update that is one at most, whose key has stayed: what it is now, and what has changed, null where nothing has.';

create or replace function rowcast.quick_source(relation regclass, operation text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  is_update boolean := operation = 'update';
  is_zoned  boolean := rowcast.table_settings(relation) = '{timezone}';
  is_like   text    := format($f$rowcast.is_like('%s'::pg_catalog.regclass, '%s')$f$, relation::oid, rowcast.likeness(relation));
  -- A statement in a transaction of which nothing is captured yet. Every row but the first leaves a mark in the state.
  first_is  text    := $f$pg_catalog.concat(pg_catalog.current_setting('rowcast.state', true), pg_catalog.pg_trigger_depth(), pg_catalog.current_setting('transaction_isolation')$f$;
  first     text    := format($f$
      insert into rowcast.log (slot, id, xid, part, at, chunks, body)
        select rowcast.slot(), pg_catalog.nextval('rowcast.log_id'), pg_catalog.pg_current_xact_id(), 0, pg_catalog.clock_timestamp(), 0,
               pg_catalog.concat(%s)
          from %s
         where %s;$f$,
    rowcast.line_source(relation, operation, '0'), rowcast.rows_source(relation, operation),
    case when is_update then $f$case when r.changed is not null then pg_catalog.set_config('rowcast.state', 'open', true) operator(pg_catalog.=) 'open' end$f$
         else $f$pg_catalog.set_config('rowcast.state', pg_catalog.left(pg_catalog.concat(pg_catalog.current_setting('rowcast.state', true), 'open'), 8), true) operator(pg_catalog.=) 'open'$f$ end);
  first_all text    := format($f$
      if %s then
        return new;
      end if;$f$, case when is_update then 'found' else $f$pg_catalog.current_setting('rowcast.state', true) operator(pg_catalog.=) 'open' or not found$f$ end);
begin
  if cardinality((rowcast.shape(relation)).keys) > 40 then
    return ''; -- a function takes a hundred arguments
  end if;
  -- What the table is like is looked at within: as a constant of a plan that is made by a snapshot from before the table was
  -- altered, it would be wrong. The time zone is pinned only where it is another one.
  return case when is_zoned then format($f$if %1$s, pg_catalog.current_setting('timezone')) operator(pg_catalog.=) any ('{1read committedUTC,1read committedEtc/UTC}'::pg_catalog.text[]) then
    if %2$s then%3$s%4$s
    end if;
  elsif %1$s) operator(pg_catalog.=) '1read committed' then
    if %2$s then
      declare
        zone pg_catalog.text := pg_catalog.current_setting('timezone');
        done pg_catalog.text := pg_catalog.set_config('timezone', 'UTC', true);
      begin%3$s
        done := pg_catalog.set_config('timezone', zone, true);
      end;%4$s
    end if;
  end if;$f$, first_is, is_like, first, first_all)
  else format($f$if %1$s) operator(pg_catalog.=) '1read committed' then
    if %2$s then%3$s%4$s
    end if;
  end if;$f$, first_is, is_like, first, first_all) end
  -- Further rows and statements, twenty rows at most; and updates that change nothing. What has begun deeper may be what
  -- foreign keys cascade to.
  || format($f$
  if pg_catalog.concat(pg_catalog.current_setting('rowcast.state', true), pg_catalog.pg_trigger_depth(), pg_catalog.current_setting('transaction_isolation'), pg_catalog.current_setting('rowcast.begun_2_%1$s', true))
       operator(pg_catalog.=) any ('{%2$s1read committed,open1read committed,more1read committed}'::pg_catalog.text[])
  then
    if %3$s then
      declare
        ticket pg_catalog.text := %4$s;
        lines  pg_catalog.text;%5$s
        done   pg_catalog.text;
      begin%6$s
        lines := %8$s;%7$s
        if lines operator(pg_catalog.=) '' then
          return new;
        elsif pg_catalog.octet_length(lines) operator(pg_catalog.<=) 7000 and ticket operator(pg_catalog.<>) '' then
          %9$s
          return new;
        end if;
      end;
    end if;
  end if;$f$, relation::oid, case when is_update then '' else 'openopen' end, is_like,
    format(case when is_update then $f$pg_catalog.current_setting('rowcast.begun_1_%1$s', true)$f$
                else $f$case when found then '0' else pg_catalog.current_setting('rowcast.begun_1_%1$s', true) end$f$ end, relation::oid),
    case when is_zoned then $f$
        zone   pg_catalog.text := pg_catalog.current_setting('timezone');$f$ else '' end,
    case when is_zoned then $f$
        if zone operator(pg_catalog.<>) 'UTC' and zone operator(pg_catalog.<>) 'Etc/UTC' then
          done := pg_catalog.set_config('timezone', 'UTC', true);
        end if;$f$ else '' end,
    case when is_zoned then $f$
        if zone operator(pg_catalog.<>) 'UTC' and zone operator(pg_catalog.<>) 'Etc/UTC' then
          done := pg_catalog.set_config('timezone', zone, true);
        end if;$f$ else '' end,
    format(case when is_update then $f$(select case when r.changed is null then '' else pg_catalog.concat(ticket, %1$s) end from %2$s)$f$
                else $f$(select case when pg_catalog.count(*) operator(pg_catalog.<) 21 then coalesce(pg_catalog.string_agg(pg_catalog.concat(ticket, l.line), ''), '') end
                    from (select pg_catalog.concat(%1$s) as line from %2$s offset case when found then 1 else 0 end limit 21) l)$f$ end,
           rowcast.line_source(relation, operation, ''), rowcast.rows_source(relation, operation)),
    case when is_update then 'done := pg_catalog.concat(rowcast.add_lines(ticket::pg_catalog.int8, lines));'
         else $f$if found then
            done := pg_catalog.concat(pg_catalog.set_config('rowcast.state', 'more', true), pg_catalog.set_config('rowcast.lines', lines, true));
          else
            done := pg_catalog.concat(rowcast.add_lines(ticket::pg_catalog.int8, lines));
          end if;$f$ end);
end $$;
comment on function rowcast.quick_source(regclass, text) is
  'The quick ways of a table''s trigger after insert, update or delete. Raises when a key column was dropped.';

create or replace function rowcast.writing() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select md5(string_agg(p.prosrc, '' order by p.proname)) from pg_proc p
   where p.pronamespace = 'rowcast'::regnamespace
     and p.proname in ('capture_insert', 'capture_update', 'capture_delete', 'settings_of', 'table_settings', 'without_hidden', 'value_source', 'members_source',
                       'line_source', 'rows_source', 'quick_source', 'write_captures')
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

insert into rowcast.migration (name) values ('007_captures') on conflict do nothing;
commit;
