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

do $$
begin
  if not exists (select from pg_attribute where attrelid = 'rowcast.relation'::regclass and attname = 'written_for') then
    alter table rowcast.relation add column written_for text;
  end if;
end $$;
comment on column rowcast.relation.written_for is 'What the table was like when its triggers were written (rowcast.likeness); null where an earlier version watched it.';

-- ── What a table is like ───────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.likeness(relation oid) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select md5(concat($1::regclass, (select string_agg(concat_ws(' ', a.attnum, to_json(a.attname), a.atttypid, a.attnotnull, a.attgenerated), ',' order by a.attnum)
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
    or t.typtype = 'e' and not exists (select from pg_cast c where c.castsource = t.oid)
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
  return case when column_of.attnotnull then name else format('coalesce(%s::pg_catalog.text, ''null'')', name) end;
end $$;
comment on function rowcast.value_source(pg_attribute) is 'SQL for the JSON of a column of a row r, as to_jsonb spells it, of few functions: making one ready costs more than calling it.';

create or replace function rowcast.members_source(relation oid, names text[], opening text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format('%L, %s', concat(case n.place when 1 then $3 || '{' else ', ' end, to_json(n.name), ': '), rowcast.value_source(a)), ', ' order by n.place)
    from unnest($2) with ordinality n (name, place) join pg_attribute a on a.attrelid = $1 and a.attname = n.name
$$;
comment on function rowcast.members_source(oid, text[], text) is
  'SQL arguments of concat for a text, and then the JSON of named columns of a row r, without the brace at its end.';

create or replace function rowcast.quick_source(relation regclass, operation text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  settings text[];
  keys     text[];
  hidden   text[];
  members  text[]; -- in the order of to_jsonb
  without  text := '';
  row_name text;
  key_json text;
  head     text;
  written  text;
  settled  text;
  first_in text := $f$pg_catalog.concat(pg_catalog.current_setting('rowcast.state', true), pg_catalog.pg_trigger_depth(), pg_catalog.current_setting('transaction_isolation')$f$;
begin
  select s.keys into keys from rowcast.shape($1) s;
  select coalesce(array_agg(distinct s.setting), '{}') into settings
    from pg_attribute a, unnest(rowcast.settings_of(a.atttypid)) s (setting) where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped;
  select array_agg(a.attname::text order by octet_length(a.attname::text), a.attname) filter (where s.columns is null or a.attname = any (s.columns)),
         array_agg(a.attname::text order by a.attnum) filter (where not a.attname = any (s.columns))
    into members, hidden
    from pg_attribute a, rowcast.shape($1) s where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped;

  if hidden is not null then
    without := format(' operator(pg_catalog.-) %L::pg_catalog.text[]', hidden);
  end if;
  head := format(E'0 %s %s %s\t"key":', left(operation, 1), $1::oid, $1);

  if operation = 'update' then
    select string_agg(format('%L, one.new operator(pg_catalog.->) %L', concat(case k.place when 1 then head || '{' else ', ' end, to_json(k.name), ': '), k.name), ', ' order by k.place)
      into key_json from unnest(keys) with ordinality k (name, place);
    written := format($f$
      insert into rowcast.log (slot, id, xid, part, at, chunks, body)
        select rowcast.slot(), pg_catalog.nextval('rowcast.log_id'), pg_catalog.pg_current_xact_id(), 0, pg_catalog.clock_timestamp(), 0,
               pg_catalog.concat(%1$s, '},"new":', one.new, ',"old":', one.changed, E'\n')
          from (select n.j as new,
                       case when %2$s
                            then (select pg_catalog.jsonb_object_agg(e.key, e.value) from pg_catalog.jsonb_each(o.j) e
                                   where e.value::pg_catalog.text operator(pg_catalog.<>) (n.j operator(pg_catalog.->) e.key)::pg_catalog.text) end as changed
                  from (select pg_catalog.to_jsonb(o.*)%3$s as j from old_rows o offset 0) o, (select pg_catalog.to_jsonb(n.*)%3$s as j from new_rows n offset 0) n
                 where not exists (select from (select from old_rows union all select from new_rows) every offset 2)
                offset 0) one
         where case when one.changed is not null then pg_catalog.set_config('rowcast.state', 'open', true) operator(pg_catalog.=) 'open' end;$f$,
      key_json,
      (select string_agg(format('o.j operator(pg_catalog.->) %1$L operator(pg_catalog.=) (n.j operator(pg_catalog.->) %1$L)', k), ' and ') from unnest(keys) k),
      without);
    settled := 'found';
  else
    -- Every row but the first leaves a mark in the state, and goes the long way.
    row_name := case operation when 'insert' then 'new' else 'old' end;
    written := format($f$
      insert into rowcast.log (slot, id, xid, part, at, chunks, body)
        select rowcast.slot(), pg_catalog.nextval('rowcast.log_id'), pg_catalog.pg_current_xact_id(), 0, pg_catalog.clock_timestamp(), 0,
               pg_catalog.concat(%1$s, %2$s)
          from %3$s_rows r
         where pg_catalog.set_config('rowcast.state', pg_catalog.left(pg_catalog.concat(pg_catalog.current_setting('rowcast.state', true), 'open'), 8), true) operator(pg_catalog.=) 'open';$f$,
      rowcast.members_source($1, keys, head),
      -- A function takes a hundred arguments.
      case when 'jsonb' = any (settings) or cardinality(keys) + cardinality(members) > 45
           then format($f$'},"%s":', pg_catalog.to_jsonb(r.*)%s, E'\n'$f$, row_name, without)
           else format($f$%s, E'}\n'$f$, rowcast.members_source($1, members, format('},"%s":', row_name))) end,
      row_name);
    settled := $f$pg_catalog.current_setting('rowcast.state', true) operator(pg_catalog.=) 'open'$f$;
  end if;

  -- What is like it is looked at within, as a plan that is made by a snapshot from before the table was altered
  -- would take it for what it was. And the time zone is pinned only where it is another one.
  return format($f$if %1$s then
    if rowcast.is_like('%2$s'::pg_catalog.regclass, '%3$s') then%4$s
      if %5$s then
        return new;
      end if;
    end if;$f$ || case when settings = '{timezone}' then $f$
  elsif %6$s then
    if rowcast.is_like('%2$s'::pg_catalog.regclass, '%3$s') then
      declare
        zone pg_catalog.text := pg_catalog.current_setting('timezone');
        done pg_catalog.text := pg_catalog.set_config('timezone', 'UTC', true);
      begin%4$s
        done := pg_catalog.set_config('timezone', zone, true);
      end;
      if %5$s then
        return new;
      end if;
    end if;$f$ else '' end || $f$
  end if;$f$,
    case when settings = '{timezone}' then first_in || $f$, pg_catalog.current_setting('timezone')) operator(pg_catalog.=) any ('{1read committedUTC,1read committedEtc/UTC}'::pg_catalog.text[])$f$
         else first_in || $f$) operator(pg_catalog.=) '1read committed'$f$ end,
    $1::oid, rowcast.likeness($1), written, settled, first_in || $f$) operator(pg_catalog.=) '1read committed'$f$);
end $$;
comment on function rowcast.quick_source(regclass, text) is
  'The quick way of a table''s trigger after insert, update or delete: for the first statement of a transaction that is captured, of one row. Raises when a key column was dropped.';

create or replace function rowcast.write_captures(relation regclass) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  operation text;
  settings  text;
begin
  select string_agg(format(' set %s = %s', s.name, s.value), '' order by s.name) into settings
    from (values ('timezone', '''UTC'''), ('intervalstyle', '''postgres'''), ('bytea_output', '''hex'''), ('extra_float_digits', '1'),
                 ('datestyle', '''ISO, MDY'''), ('lc_monetary', '''C'''), ('search_path', 'pg_catalog, pg_temp')) s (name, value)
   where s.name in (select unnest(rowcast.settings_of(a.atttypid)) from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped);
  -- The time zone alone is pinned by the quick way itself, where it has to be.
  if settings = ' set timezone = ''UTC''' then
    settings := null;
  end if;
  foreach operation in array '{insert,update,delete}'::text[] loop
    execute format('create or replace function rowcast.%I() returns trigger language plpgsql security definer%s as %L',
                   format('capture_%s_%s', operation, $1::oid), settings,
                   replace((select p.prosrc from pg_proc p where p.oid = format('rowcast.capture_%s()', operation)::regprocedure),
                           '-- quick', rowcast.quick_source($1, operation)));
    execute format('comment on function rowcast.%I() is %L', format('capture_%s_%s', operation, $1::oid),
                   format('Trigger after each %s on %s, written by rowcast.write_captures.', upper(operation), $1));
    execute format('revoke all on function rowcast.%I() from public', format('capture_%s_%s', operation, $1::oid));
  end loop;
  update rowcast.relation r set written_for = rowcast.likeness($1) where r.relation = $1;
end $$;
comment on function rowcast.write_captures(regclass) is
  'Writes the three functions that capture a watched table, for what the table is like now. Takes no lock on it. Raises when a key column was dropped.';
revoke all on function rowcast.write_captures(regclass) from public;

create or replace function rowcast.renew_captures() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if pg_try_advisory_xact_lock(hashtext('rowcast'), 2) then -- else rowcast.watch is at it
    perform rowcast.write_captures(r.relation)
       from rowcast.relation r join pg_class c on c.oid = r.relation
      where r.written_for <> rowcast.likeness(r.relation)
        -- Without its key a table is not captured at all.
        and array_position(rowcast.current_names(r.relation, r.key, r.key_numbers, r.numbered), null) is null;
    perform rowcast.drop_captures();
  end if;
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
  loop
    execute format('drop function %s', unused);
  end loop;
end $$;
comment on function rowcast.drop_captures() is 'Removes the functions of rowcast.write_captures that no trigger calls any more.';
revoke all on function rowcast.drop_captures() from public;

insert into rowcast.migration (name) values ('007_captures') on conflict do nothing;
commit;
