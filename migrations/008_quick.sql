-- rowcast: the quick ways, which the triggers written for a table try before the long one.
--
-- What most transactions are: a first statement on watched tables, of a row or a few; and further ones like it. Each is
-- written as SQL with the table's own names and types. The functions here give that SQL; rowcast.write_captures puts it
-- in place. It runs with the search path of the writer: so everything in it is named in full.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

-- ── Rows and lines ─────────────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.without_hidden(relation oid) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((select format(' operator(pg_catalog.-) %L::pg_catalog.text[]', array_agg(a.attname::text order by a.attnum))
                     from pg_attribute a, rowcast.shape($1) s
                    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
                      and (a.attgenerated = 'v' or not a.attname = any (s.columns)) having count(*) > 0), '')
$$;
comment on function rowcast.without_hidden(oid) is 'SQL that takes the columns that are not published, or virtual, from the jsonb of a row before it.';

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

create or replace function rowcast.members_source(relation oid, names text[], inout template text, inout arguments text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select concat($3, '{', string_agg(concat(replace(to_json(n.name)::text, '%', '%%'), ': %s'), ', ' order by n.place), '}'),
         concat($4, string_agg(concat(', ', rowcast.value_source(a)), '' order by n.place))
    from unnest($2) with ordinality n (name, place) join pg_attribute a on a.attrelid = $1 and a.attname = n.name
$$;
comment on function rowcast.members_source(oid, text[], text, text) is
  'A template of format, and SQL for its arguments, with the JSON of named columns of a row r put at their ends.';

create or replace function rowcast.line_source(relation regclass, operation text, ticket text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
declare
  template  text := format(E'%s %s %s\t"key":', left(operation, 1), relation::oid, replace(relation::text, '%', '%%'));
  arguments text := '';
  image     text := case operation when 'insert' then 'new' else 'old' end;
  shape     record := rowcast.shape(relation);
  members   text[] := (select array_agg(a.attname::text order by octet_length(a.attname::text), a.attname) -- as to_jsonb has them
                         from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
                          and (shape.columns is null or a.attname = any (shape.columns)));
begin
  if ticket ~ '^[0-9]+$' then
    template := concat(ticket, ' ', template);
  else
    template := '%s ' || template;
    arguments := ', ' || ticket;
  end if;
  if operation = 'update' then
    template := concat(template, '{', (select string_agg(concat(replace(to_json(k)::text, '%', '%%'), ': %s'), ', ') from unnest(shape.keys) k), '},"new":%s,"old":%s');
    arguments := concat(arguments, (select string_agg(format(', r.new operator(pg_catalog.->) %L', k), '') from unnest(shape.keys) k), ', r.new, r.changed');
  else
    select m.template, m.arguments into template, arguments from rowcast.members_source(relation, shape.keys, template, arguments) m;
    template := format('%s,"%s":', template, image);
    -- A function takes a hundred arguments.
    if 'jsonb' = any (rowcast.table_settings(relation)) or cardinality(shape.keys) + cardinality(members) > 90 then
      template := concat(template, '%s');
      arguments := format('%s, pg_catalog.to_jsonb(r.*)%s', arguments, rowcast.without_hidden(relation));
    else
      select m.template, m.arguments into template, arguments from rowcast.members_source(relation, members, template, arguments) m;
    end if;
  end if;
  return format('pg_catalog.format(%L%s)', concat(template, E'\n'), arguments);
end $$;
comment on function rowcast.line_source(regclass, text, text) is
  'SQL for the line of a row r, of rowcast.rows_source, after a ticket, which is SQL as well. Raises when a key column was dropped.';

create or replace function rowcast.rows_source(relation regclass, operation text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case $2 when 'insert' then 'new_rows r' when 'delete' then 'old_rows r' else format($f$(
          select n.j as new,
                 (select pg_catalog.jsonb_object_agg(e.key, e.value) from pg_catalog.jsonb_each(o.j) e
                   where e.value::pg_catalog.text operator(pg_catalog.<>) (n.j operator(pg_catalog.->) e.key)::pg_catalog.text) as changed
            from (select pg_catalog.to_jsonb(o.*)%2$s as j from old_rows o offset 0) o, (select pg_catalog.to_jsonb(n.*)%2$s as j from new_rows n offset 0) n
           where not exists (select from old_rows offset 1) and %1$s
          offset 0) r$f$,
    (select string_agg(format('o.j operator(pg_catalog.->) %1$L operator(pg_catalog.=) (n.j operator(pg_catalog.->) %1$L)', k), ' and ') from unnest((rowcast.shape($1)).keys) k),
    rowcast.without_hidden($1)) end
$$;
comment on function rowcast.rows_source(regclass, text) is
  'SQL for the rows r of a statement, an insert, update or delete. Of an update that is one at most, whose key has stayed: what it is now, and what has changed, null where nothing has.';

-- ── The ways ───────────────────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.pinned_source(source text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select format($f$declare
        zone pg_catalog.text := pg_catalog.current_setting('timezone');
        done pg_catalog.text := pg_catalog.set_config('timezone', 'UTC', true);
      begin
        %s
        done := pg_catalog.set_config('timezone', zone, true);
      end;$f$, $1)
$$;
comment on function rowcast.pinned_source(text) is 'PL/pgSQL that runs a piece of PL/pgSQL with the time zone pinned.';

create or replace function rowcast.nothing_source(ended text default '') returns text language sql immutable as $$
  select format('
      elsif not exists (select from old_rows) then
        %sreturn new;', $1)
$$;
comment on function rowcast.nothing_source(text) is 'PL/pgSQL that is done with an update of no row, as where an upsert inserts, and runs a piece of PL/pgSQL then. There may be old rows without new ones: a trigger may keep a row that moves from its new partition.';

create or replace function rowcast.first_source(relation regclass, operation text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return format($f$insert into rowcast.log (slot, id, xid, part, at, chunks, body)
        select rowcast.slot(), pg_catalog.nextval('rowcast.log_id'), pg_catalog.pg_current_xact_id(), 0, pg_catalog.clock_timestamp(), 0,
               %s
          from %s
         where %s;$f$,
    rowcast.line_source(relation, operation, '1000'), rowcast.rows_source(relation, operation),
    case operation when 'update' then $f$case when r.changed is not null then pg_catalog.set_config('rowcast.state', 'open', true) operator(pg_catalog.=) 'open' end$f$
         else $f$pg_catalog.set_config('rowcast.state', pg_catalog.left(pg_catalog.concat(pg_catalog.current_setting('rowcast.state', true), 'open'), 8), true) operator(pg_catalog.=) 'open'$f$ end);
end $$;
comment on function rowcast.first_source(regclass, text) is
  'SQL that writes the first row of a transaction''s first statement to the log. Every other row leaves a mark in the state.';

create or replace function rowcast.further_source(relation regclass, operation text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  running text := format($f$pg_catalog.current_setting('rowcast.running_1_%s_%s', true)$f$, relation::oid, upper(operation));
  ended   text := format($f$pg_catalog.set_config('rowcast.running_1_%s_%s', pg_catalog.substr(%3$s, pg_catalog.strpos(%3$s, ' ') operator(pg_catalog.+) 1), true)$f$, relation::oid, upper(operation), running);
  add     text := format('done := pg_catalog.concat(%s, rowcast.add_lines(ticket::pg_catalog.int8, lines));', ended);
  take    text := format(case operation when 'update' then $f$lines := (select case when r.changed is null then '' else %s end from %s);$f$
                       else $f$lines := (select case when pg_catalog.count(*) operator(pg_catalog.<) 21 then coalesce(pg_catalog.string_agg(l.line, ''), '') end
                   from (select %s as line from %s offset case when found then 1 else 0 end limit 21) l);$f$ end,
                       rowcast.line_source(relation, operation, 'ticket'), rowcast.rows_source(relation, operation));
begin
  if rowcast.table_settings(relation) = '{timezone}' then
    take := format($f$if pg_catalog.current_setting('timezone') operator(pg_catalog.=) any ('{UTC,Etc/UTC}'::pg_catalog.text[]) then
          %s
        else
          %s
        end if;$f$, take, rowcast.pinned_source(take));
  end if;
  return format($f$declare
        ticket pg_catalog.text := %s;
        lines  pg_catalog.text;
        done   pg_catalog.text;
      begin
        %s
        if lines operator(pg_catalog.=) '' then
          done := %s;
          return new;
        elsif pg_catalog.octet_length(lines) operator(pg_catalog.<=) 7000 and ticket operator(pg_catalog.<>) '' then
          %s
          return new;%s
        end if;
      end;$f$,
    case operation when 'update' then format('pg_catalog.split_part(%s, '' '', 1)', running) else format('case when found then ''1000'' else pg_catalog.split_part(%s, '' '', 1) end', running) end,
    take, ended,
    case operation when 'update' then add else format($f$if found then
            done := pg_catalog.concat(pg_catalog.set_config('rowcast.state', 'more', true), pg_catalog.set_config('rowcast.lines', lines, true));
          else
            %s
          end if;$f$, add) end,
    case operation when 'update' then rowcast.nothing_source(format('done := %s; ', ended)) end);
end $$;
comment on function rowcast.further_source(regclass, text) is
  'PL/pgSQL that captures further rows and statements of a transaction, twenty rows at most; and of updates, those that change nothing.';

create or replace function rowcast.quick_source(relation regclass, operation text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  is_zoned boolean := rowcast.table_settings(relation) = '{timezone}';
  is_like  text    := format($f$rowcast.is_like('%s'::pg_catalog.regclass, '%s')$f$, relation::oid, rowcast.likeness(relation));
  manner   text    := $f$pg_catalog.current_setting('rowcast.state', true), pg_catalog.pg_trigger_depth(), pg_catalog.current_setting('transaction_isolation')$f$;
  way      text    := format($f$
    if %s then
      %%s
      if %s then
        return new;%s
      end if;
    end if;$f$, is_like,
    case operation when 'update' then 'found' else $f$pg_catalog.current_setting('rowcast.state', true) operator(pg_catalog.=) 'open' or not found$f$ end,
    case operation when 'update' then rowcast.nothing_source() end);
begin
  if cardinality((rowcast.shape(relation)).keys) > 40 then
    return ''; -- a function takes a hundred arguments
  elsif operation <> 'delete' and rowcast.waits_at_the_end(relation) then
    return ''; -- the long way knows what to do then
  end if;
  -- What the table is like is looked at within: as a constant of a plan that is made by a snapshot from before the table was
  -- altered, it would be wrong.
  return concat(
    -- The first statement of a transaction.
    format('if pg_catalog.concat(%s%s) operator(pg_catalog.=) any (''%s''::pg_catalog.text[]) then', manner,
           case when is_zoned then $f$, pg_catalog.current_setting('timezone')$f$ end,
           case when is_zoned then '{1read committedUTC,1read committedEtc/UTC}' else '{1read committed}' end),
    format(way, rowcast.first_source(relation, operation)),
    case when is_zoned then
      format($f$
  elsif pg_catalog.concat(%s) operator(pg_catalog.=) '1read committed' then$f$, manner)
      || format(way, rowcast.pinned_source(rowcast.first_source(relation, operation)))
    end,
    -- Further rows and statements. What has begun deeper may be what foreign keys cascade to.
    format($f$
  end if;
  if pg_catalog.concat(%s, pg_catalog.current_setting('rowcast.running_2_%s_%s', true)) operator(pg_catalog.=) any ('{%s1read committed,open1read committed,more1read committed}'::pg_catalog.text[]) then
    if %s then
      %s
    end if;
  end if;$f$, manner, relation::oid, upper(operation), case operation when 'update' then '' else 'openopen' end, is_like, rowcast.further_source(relation, operation)));
end $$;
comment on function rowcast.quick_source(regclass, text) is
  'PL/pgSQL, the quick ways of a table''s trigger after insert, update or delete. Raises when a key column was dropped.';

drop function if exists rowcast.members_source(oid, text[], text), rowcast.nothing_source();
insert into rowcast.migration (name) values ('008_quick') on conflict do nothing;
commit;
