-- rowcast: capture.
--
-- Statement triggers turn what a statement did into lines. The first captured statement of a transaction inserts the
-- transaction's row of the log; what later statements did is gathered in transaction-local settings, so a rolled-back
-- savepoint takes its lines with it, and spilled into rowcast.chunk past a few KB. A deferred constraint trigger on that
-- row, which fires once, at the end, completes the row and sends one NOTIFY.
--
-- A line is `ticket operation oid table TAB rest NEWLINE`: the table by its oid, which stays, and by the name that it
-- has then. A statement's ticket is where the write-ahead log stood when it began; less than any of those, a thousand for
-- each level of triggers, where nothing had been captured yet. It is captured when it ends, after the statements that its
-- triggers ran, so lines are sorted by ticket when they are read: each row's versions then come in the order in which they
-- were made. Where a row was made after statements within its own, rowcast.placed_lines gives it a ticket between theirs.
--
-- The settings, all local to the transaction:
--   rowcast.running_<depth>_<oid>_<operation>  the tickets of the statements of that kind on that table that began at that
--                          trigger depth and have not ended, the last one's first
--   rowcast.state          `open`: the transaction has its row of the log, and nothing more; `more`: it has more than
--                          that, or is not at its first part; `ended N`: that row, part N, was completed; while a
--                          statement is captured, `openopen` and `ended 0o` say that it has more rows than the first
--   rowcast.row            where that row is, when it was not the quick way that wrote it
--   rowcast.lines          lines that are not in the log yet
--   rowcast.part           the part that is open
--   rowcast.waits          `on`: it may wait, when it ends, for a key that is checked then
--   rowcast.chunks         how many chunks were written
--   rowcast.spilled        the highest ticket that can be in a chunk
--   rowcast.inner          the ticket of what was captured first, where that was a statement of a trigger
--   rowcast.freed          `on`: a statement within another has deleted rows
--   rowcast.freed_<oid>    the highest ticket of such a statement on that table
--   rowcast.covered        the partitioned tables under way, whose own triggers capture their partitions

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

-- ── When a statement begins ────────────────────────────────────────────────────────────────────────────────────

-- It runs with the rights and the search path of the writer: so everything is named in full. Who begins before anything was
-- captured takes no ticket: these are statements within each other.
create or replace function rowcast.begin_statement() returns trigger language plpgsql as $$
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
  return new;
end $$;
comment on function rowcast.begin_statement() is 'Trigger before each statement on a watched table: takes its ticket.';

drop function if exists rowcast.ticket(int, oid);
create or replace function rowcast.ticket(depth int, relation oid, operation text default null) returns bigint language plpgsql as $$
declare
  setting pg_catalog.text;
  running pg_catalog.text;
  done    pg_catalog.text;
begin
  if operation is null then
    operation := (select o from unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) o, unnest(array[depth, depth + 1]) d
                   order by nullif(split_part(current_setting(concat('rowcast.running_', d, '_', relation, '_', o), true), ' ', 1), '')::bigint desc nulls last limit 1);
  end if;
  -- What a foreign key cascades to begins one deeper than it ends. It has begun after the one of its kind that is at this
  -- depth, if there is one: PostgreSQL makes one statement of those of a kind that would end in the other order.
  setting := concat('rowcast.running_', depth + 1, '_', relation, '_', operation);
  running := current_setting(setting, true);
  if coalesce(running, '') = '' then
    setting := concat('rowcast.running_', depth, '_', relation, '_', operation);
    running := current_setting(setting, true);
  end if;
  if coalesce(running, '') = '' then
    return depth * 1000;
  end if;
  done := set_config(setting, substr(running, strpos(running, ' ') + 1), true);
  return split_part(running, ' ', 1);
end $$;
comment on function rowcast.ticket(int, oid, text) is
  'The ticket of the statement of a kind (tg_op) on a table that ends at a trigger depth; of the last that has begun where no kind is given, as by triggers that an earlier version wrote.';

-- ── From rows to lines ─────────────────────────────────────────────────────────────────────────────────────────

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

-- ── From lines to the log ──────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.write_chunk(ticket bigint, lines text, id bigint default nextval('rowcast.log_id')) returns void
language plpgsql as $$
declare
  done pg_catalog.text;
begin
  insert into rowcast.chunk (slot, id, xid, part, ticket, body)
    values (rowcast.slot(), id, pg_current_xact_id(), coalesce(nullif(current_setting('rowcast.part', true), '')::int, 0), ticket, lines);
  done := set_config('rowcast.chunks', (coalesce(nullif(current_setting('rowcast.chunks', true), '')::int, 0) + 1)::text, true);
end $$;
comment on function rowcast.write_chunk(bigint, text, bigint) is 'Writes a row of rowcast.chunk.';

-- These two are run with the search path pinned; the planner takes them apart.
create or replace function rowcast.lines_by_ticket(lines text) returns table (ticket bigint, lines text)
language sql immutable as $$
  select split_part(l.line, ' ', 1)::bigint, string_agg(concat(l.line, E'\n'), '' order by l.number)
    from unnest(string_to_array(rtrim($1, E'\n'), E'\n')) with ordinality l (line, number) group by 1 order by 1
$$;
comment on function rowcast.lines_by_ticket(text) is 'Lines, those of each ticket together.';

create or replace function rowcast.make_room(ticket bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  spanning  rowcast.chunk;
  open_part int := coalesce(nullif(current_setting('rowcast.part', true), ''), '0');
begin
  for spanning in
    select c.* from rowcast.chunk c
     where c.slot in (rowcast.slot(), ((rowcast.slot() + 7) % 8)::int2) and c.xid = pg_current_xact_id() and c.part = open_part
       and c.ticket = (select b.ticket from rowcast.chunk b where b.slot in (rowcast.slot(), ((rowcast.slot() + 7) % 8)::int2) and b.xid = pg_current_xact_id() and b.part = open_part and b.ticket <= $1
                        order by b.part desc, b.ticket desc limit 1)
       and exists (select from rowcast.lines_by_ticket(c.body) l where l.ticket > $1)
  loop
    delete from rowcast.chunk c where c.slot = spanning.slot and c.xid = spanning.xid and c.part = spanning.part and c.ticket = spanning.ticket and c.id = spanning.id;
    perform set_config('rowcast.chunks', (current_setting('rowcast.chunks')::int - 1)::text, true);
    perform rowcast.write_chunk(l.ticket, l.lines, spanning.id) from rowcast.lines_by_ticket(spanning.body) l;
  end loop;
end $$;
comment on function rowcast.make_room(bigint) is 'Writes the chunk again that has lines of tickets on both sides of one, by ticket.';

create or replace function rowcast.row_before(operation text, change jsonb) returns jsonb
language sql immutable as $$
  select case $1 when 'd' then $2 -> 'old' when 'u' then ($2 -> 'new') || ($2 -> 'old') else 'null' end
$$;
comment on function rowcast.row_before(text, jsonb) is 'What a row was before a change; JSON''s null where it was not there.';

create or replace function rowcast.has_lines_of(relation oid) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  place tid  := nullif(current_setting('rowcast.row', true), '');
  name  text := concat(' ', relation, ' ');
begin
  return strpos(current_setting('rowcast.lines', true), name) > 0 or current_setting('rowcast.chunks', true) <> ''
      or place is null and exists (select from rowcast.log l where l.slot in (rowcast.slot(), ((rowcast.slot() + 7) % 8)::int2) and l.xid = pg_current_xact_id() and strpos(l.body, name) > 0)
      or place is not null and exists (select from rowcast.log l where l.slot in (rowcast.slot(), ((rowcast.slot() + 7) % 8)::int2) and l.ctid = place and l.xid = pg_current_xact_id() and strpos(l.body, name) > 0);
end $$;
comment on function rowcast.has_lines_of(oid) is 'Whether the transaction may have changed a table before.';

-- It runs with the rights of rowcast's owner: so types whose values run code of their own when they are read are left alone.
create or replace function rowcast.holds(relation oid, key jsonb) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  is_there boolean;
  may_look boolean := not row_security_active(relation) and not exists (
    select from jsonb_object_keys(key) name join pg_attribute a on a.attrelid = relation and a.attname = name join pg_type t on t.oid = a.atttypid
     where coalesce(nullif(t.typbasetype, 0), t.oid)
           <> all ('{bool,int2,int4,int8,numeric,float4,float8,text,varchar,bpchar,name,uuid,date,time,timestamp,timestamptz,bytea,inet,macaddr}'::regtype[]));
begin
  if may_look then
    begin
      execute (select format('select exists (select from %s t, jsonb_to_record($1) k (%s) where %s)', relation::regclass,
                             string_agg(format('%I %s', a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null)), ', '),
                             string_agg(format('t.%1$I = k.%1$I', a.attname), ' and '))
                 from jsonb_object_keys(key) name join pg_attribute a on a.attrelid = relation and a.attname = name join pg_type t on t.oid = a.atttypid)
         into is_there using key;
      return is_there;
    exception when others then
      null; -- then as for other types
    end;
  end if;
  return not exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                      where t.tgrelid = relation and not t.tgisinternal and t.tgenabled <> 'D' and t.tgtype & 2 = 0 and p.pronamespace <> 'rowcast'::regnamespace);
end $$;
comment on function rowcast.holds(oid, jsonb) is
  'Whether a table has a row of that key now. Where rowcast''s owner may not look, or had to run code of a type: whether no trigger after rows can have deleted it.';

-- A statement that runs within another has begun after it. Most often the rows of the outer one were there before. But a
-- trigger before a row, or a function that gives its values, may have deleted another row of its key. And where nothing had
-- been captured when the outer one began, its ticket does not say which was first. So what was done with each key tells: a
-- row's versions follow from each other. (Two slots are looked into, as prune may move on in the middle of a transaction.)
create or replace function rowcast.placed_lines(ticket bigint, new_lines text) returns table (place bigint, lines text)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  since bigint := case when $1 < 1000000 then 0 else $1 end; -- without a ticket of its own, it began before all
begin
  return query with pieces (id, body) as (
    select l.id, l.body from rowcast.log l
     where l.slot in (rowcast.slot(), ((rowcast.slot() + 7) % 8)::int2) and l.xid = pg_current_xact_id() and coalesce(current_setting('rowcast.row', true), '') = ''
    union all
    select l.id, l.body from rowcast.log l
     where l.slot in (rowcast.slot(), ((rowcast.slot() + 7) % 8)::int2) and l.ctid = nullif(current_setting('rowcast.row', true), '')::tid and l.xid = pg_current_xact_id()
    union all
    select c.id, c.body from rowcast.chunk c
     where c.slot in (rowcast.slot(), ((rowcast.slot() + 7) % 8)::int2) and c.xid = pg_current_xact_id() and c.ticket >= since and current_setting('rowcast.chunks', true) <> ''
    union all
    select null, current_setting('rowcast.lines', true)
  ), news as (
    select n.*, n.change -> 'key' as key, rowcast.row_before(n.op, n.change) as row_before, coalesce(n.change -> 'new', 'null') as row_after
      from (select l.line, l.number, split_part(l.line, ' ', 2) as op, ('{' || split_part(l.line, E'\t', 2) || '}')::jsonb as change
              from unnest(string_to_array(rtrim($2, E'\n'), E'\n')) with ordinality l (line, number)) n
  ), written as (
    select split_part(l.line, ' ', 1)::bigint as ticket, split_part(l.line, ' ', 2) as op, l.line, p.id, l.number
      from pieces p, unnest(string_to_array(rtrim(p.body, E'\n'), E'\n')) with ordinality l (line, number)
     where split_part(l.line, ' ', 3) = split_part($2, ' ', 3) and split_part(l.line, ' ', 1)::bigint >= since
  ), versions as (
    select v.ticket, v.change -> 'key' as key, rowcast.row_before(v.op, v.change) as row_before, coalesce(v.change -> 'new', 'null') as row_after,
           row_number() over (partition by v.change -> 'key' order by v.ticket, v.id, v.number) as nth
      from (select w.*, ('{' || split_part(w.line, E'\t', 2) || '}')::jsonb as change from written w) v
     where v.op <> 't' and v.ticket >= coalesce((select max(w.ticket) from written w where w.op = 't'), 0)
  ), gaps as ( -- before each version, and after the last
    select coalesce(before.key, after.key) as key, before.ticket as ticket_before, before.row_after as row_before,
           after.ticket as ticket_after, after.row_before as row_after, coalesce(before.nth, 0) as nth
      from versions before full join versions after on after.key = before.key and after.nth = before.nth + 1
  ), fitting as (
    select n.number, g.*, count(*) over (partition by n.number) > 1 as is_one_of, n.op
      from news n join gaps g on g.key = n.key and coalesce(g.row_before = n.row_before, true) and coalesce(g.row_after = n.row_after, true)
  ), chosen as (
    select distinct on (f.number) f.*
      from fitting f
     order by f.number, coalesce(f.row_before <> f.row_after, false) desc, -- what would not follow otherwise
           f.is_one_of and f.op = 'i' and f.ticket_after is null and coalesce(rowcast.holds(split_part($2, ' ', 3)::oid, f.key), false) desc,
           -- Of equal tickets, what has none of its own is around the other; else it came after it.
           case when $1 < 1000000 then coalesce(f.ticket_before < $1, true) and coalesce(f.ticket_after >= $1, true)
                else coalesce(f.ticket_before <= $1, true) and coalesce(f.ticket_after > $1, true) end desc, f.nth
  ), placed as (
    select n.line, n.number,
           case when c.number is null then $1
                when c.ticket_before is null then least($1, c.ticket_after - 1)
                when c.ticket_after is null and c.ticket_before <= $1 then $1
                else c.ticket_before + 1 end as place
      from news n left join chosen c on c.number = n.number
  )
  select p.place, string_agg(concat(p.place, substr(p.line, strpos(p.line, ' ')), E'\n'), '' order by p.number) from placed p group by 1 order by 1;
end $$;
comment on function rowcast.placed_lines(bigint, text) is
  'The lines of one statement, by the tickets that give each its place among what has been done with its key since the statement began.';

create or replace function rowcast.add_placed(ticket bigint, new_lines text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  placed record;
begin
  for placed in select * from rowcast.placed_lines(ticket, new_lines) loop
    if placed.place <> ticket and placed.place <= nullif(current_setting('rowcast.spilled', true), '')::bigint then
      perform rowcast.make_room(placed.place);
    end if;
    perform rowcast.add_lines(placed.place, placed.lines, false);
  end loop;
end $$;
comment on function rowcast.add_placed(bigint, text) is 'Adds lines of one statement as rowcast.placed_lines places them.';

create or replace function rowcast.is_around(ticket bigint, relation oid) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if ticket <= nullif(current_setting('rowcast.spilled', true), '')::bigint then
    perform rowcast.make_room(ticket);
  end if;
  if ticket <= nullif(current_setting(concat('rowcast.freed_', relation), true), '')::bigint then
    return true;
  elsif ticket >= 1000000 or coalesce(current_setting('rowcast.state', true), '') = '' then
    return false;
  elsif ticket < nullif(current_setting('rowcast.inner', true), '')::bigint then
    perform set_config('rowcast.inner', '', true);
    return false;
  end if;
  return rowcast.has_lines_of(relation);
end $$;
comment on function rowcast.is_around(bigint, oid) is
  'Whether statements that have been captured already may have run within the one of that ticket on a table, so that each of its rows has to find its place among theirs.';

drop function if exists rowcast.add_lines(bigint, text);
create or replace function rowcast.add_lines(ticket bigint, new_lines text, is_around boolean default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  state text := current_setting('rowcast.state', true);
  part  int;
  lines text;
  place text;
  done  text;
begin
  if new_lines = '' then
    return;
  elsif is_around is null and concat(current_setting('rowcast.freed', true), current_setting('rowcast.spilled', true)) <> '' then
    is_around := rowcast.is_around(ticket, split_part(new_lines, ' ', 3)::oid);
  end if;
  if is_around then
    perform rowcast.add_placed(ticket, new_lines);
    return;
  end if;
  if split_part(new_lines, ' ', 2) = 'd' then -- deletes come first
    place := concat('rowcast.running_1_', split_part(new_lines, ' ', 3));
    if pg_trigger_depth() > 1 or concat(current_setting('rowcast.inner', true), current_setting(concat(place, '_INSERT'), true),
         current_setting(concat(place, '_UPDATE'), true), current_setting(concat(place, '_DELETE'), true)) <> '' then
      place := concat('rowcast.freed_', split_part(new_lines, ' ', 3));
      done := concat(set_config('rowcast.freed', 'on', true), set_config(place, greatest(nullif(current_setting(place, true), '')::bigint, ticket)::text, true));
    end if;
  end if;
  if state in ('open', 'more') then
    done := set_config('rowcast.state', 'more', true);
    if ticket <= coalesce(nullif(current_setting('rowcast.spilled', true), '')::bigint, -1) then
      done := concat(rowcast.write_chunk(ticket, new_lines));
    else
      lines := set_config('rowcast.lines', concat(current_setting('rowcast.lines', true), new_lines), true);
      if octet_length(lines) > 7000 then
        done := concat(rowcast.spill(ticket));
      end if;
    end if;
    return;
  end if;
  if coalesce(state, '') = '' and pg_trigger_depth() > 1 then
    done := set_config('rowcast.inner', ticket::text, true);
  end if;
  if coalesce(state, '') = '' and current_setting('transaction_isolation') = 'read committed' then
    -- As the quick way writes it: complete() finds it without knowing its place.
    done := set_config('rowcast.state', 'open', true);
    insert into rowcast.log (slot, id, xid, part, at, chunks, body)
      values (rowcast.slot(), nextval('rowcast.log_id'), pg_current_xact_id(), 0, clock_timestamp(), 0, new_lines);
    return;
  end if;
  part := case when state like 'ended %' then split_part(state, ' ', 2)::int + 1 else 0 end;
  done := concat(set_config('rowcast.state', case part when 0 then 'open' else 'more' end, true), set_config('rowcast.part', part::text, true));
  insert into rowcast.log (slot, id, xid, part, at, body)
    values (rowcast.slot(), nextval('rowcast.log_id'), pg_current_xact_id(), part, clock_timestamp(), new_lines)
    returning ctid::text into place;
  if current_setting('rowcast.state') in ('open', 'more') then -- else constraints are immediate, and it is completed already
    done := set_config('rowcast.row', place, true);
  end if;
end $$;
comment on function rowcast.add_lines(bigint, text, boolean) is
  'Adds lines of one statement to what the transaction will commit; the first lines open its row of the log. is_around: what rowcast.is_around said of it; null: a statement that began after something had been captured.';

-- A deferrable key may let a row in before the one that it replaces is gone, and waits for that at the end: so the order of
-- the commits is taken after that, however soon it is. Named in full: the planner takes it apart.
create or replace function rowcast.waits_at_the_end(relation oid) returns boolean language sql stable as $$
  select exists (select from pg_catalog.pg_index i where i.indrelid operator(pg_catalog.=) $1 and not i.indimmediate)
$$;
comment on function rowcast.waits_at_the_end(oid) is 'Whether a table has a deferrable unique or exclusion constraint.';

create or replace function rowcast.order_at_the_end(relation oid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if current_setting('rowcast.state', true) in ('open', 'more') and rowcast.waits_at_the_end(relation) then
    perform set_config('rowcast.state', 'more', true), set_config('rowcast.waits', 'on', true);
  end if;
end $$;
comment on function rowcast.order_at_the_end(oid) is 'Has the transaction''s row of the log completed after its deferred checks, where a table may have it wait for them.';

create or replace function rowcast.spill(ticket bigint) returns void language plpgsql as $$
declare
  lines pg_catalog.text := current_setting('rowcast.lines');
begin
  -- A chunk must not span the ticket of a statement whose lines are elsewhere: in the row of the log, which the first
  -- spill does not know, or still to come, from a statement around this one or, being more of them, from this one.
  if pg_trigger_depth() <= 1 and current_setting('rowcast.spilled', true) <> ''
     and not exists (select from unnest(string_to_array(rtrim(lines, E'\n'), E'\n')) line where split_part(line, ' ', 1)::bigint > $1)
  then
    perform rowcast.write_chunk(split_part(lines, ' ', 1)::bigint, lines);
  else
    perform rowcast.write_chunk(l.ticket, l.lines) from rowcast.lines_by_ticket(lines) l;
  end if;
  perform set_config('rowcast.lines', '', true),
          set_config('rowcast.spilled', (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text, true);
end $$;
comment on function rowcast.spill(bigint) is
  'Writes the lines gathered so far, while a statement of that ticket is captured, into chunks. Lines of statements that have begun before then get chunks of their own.';

create or replace function rowcast.complete(log_row rowcast.log) returns rowcast.log language plpgsql as $$
declare
  old_id  pg_catalog.int8 := log_row.id;
  place   pg_catalog.tid := nullif(current_setting('rowcast.row', true), '');
  is_more pg_catalog.bool := concat(current_setting('rowcast.chunks', true), current_setting('rowcast.lines', true)) <> '';
  done    pg_catalog.text;
begin
  if current_setting('rowcast.chunks', true) <> '' then
    -- What the first statement did becomes a chunk as well; the row keeps what came last.
    perform rowcast.write_chunk(split_part(log_row.body, ' ', 1)::bigint, log_row.body, old_id);
    log_row.chunks := current_setting('rowcast.chunks');
    log_row.body := '';
  end if;
  log_row.id := nextval('rowcast.log_id');
  log_row.at := clock_timestamp();
  log_row.body := concat(log_row.body, current_setting('rowcast.lines', true));
  -- A body that stays is not written again, however long it is. The slot is named as what the plan knows: else all of them
  -- would be locked to find out which it is.
  if place is not null then
    update rowcast.log l set id = log_row.id, at = log_row.at, chunks = log_row.chunks, body = case when is_more then log_row.body else l.body end
     where l.slot = rowcast.slot() and l.ctid = place and l.xid = log_row.xid and l.id = old_id;
  else
    -- Not in a serializable transaction: there, looking into the index would make it conflict with others.
    update rowcast.log l set id = log_row.id, at = log_row.at, chunks = log_row.chunks, body = case when is_more then log_row.body else l.body end
     where l.slot = rowcast.slot() and l.xid = log_row.xid and l.id = old_id;
  end if;
  if not found then -- another slot is being written since
    update rowcast.log l set id = log_row.id, at = log_row.at, chunks = log_row.chunks, body = case when is_more then log_row.body else l.body end
     where l.slot = log_row.slot and l.xid = log_row.xid and l.id = old_id;
  end if;
  done := concat(set_config('rowcast.lines', '', true), set_config('rowcast.row', '', true), set_config('rowcast.chunks', '', true), set_config('rowcast.spilled', '', true));
  return log_row;
end $$;
comment on function rowcast.complete(rowcast.log) is 'Completes the transaction''s row of the log with what was gathered since it was written.';

-- Every NOTIFY holds a lock that all of them share until its commit is flushed, so where they come thick, the leading
-- instance mutes them and reads the log instead. It says so by advisory locks, which end with it:
--   3  lead     the leader has it
--   4  mute     held, or waited for: the leader reads all the time, and nobody needs to notify
--   5  barrier  everyone shares it until his end. The leader waits for it before it is calm again: until then, who was
--               muted may still come, without a NOTIFY, and what is notified now must not overtake him
--   6  calm     held: whatever was muted has been read, so commits may be handed on as they are notified
-- Calm is looked at first, as most often nothing else has to be: what is notified while it is held can have seen nothing
-- that was muted and is not read yet. Its lock is not kept: the leader takes it without waiting for anybody. The barrier is
-- shared before muting is looked at: who is muted is waited for.
-- Named in full, as they are run with the search path of the writer; the planner takes them apart.
create or replace function rowcast.is_calm() returns boolean language sql as $$
  select case when pg_catalog.pg_try_advisory_lock_shared(pg_catalog.hashtext('rowcast'), 6)
              then not pg_catalog.pg_advisory_unlock_shared(pg_catalog.hashtext('rowcast'), 6) else true end
$$;
comment on function rowcast.is_calm() is 'Whether the leading instance is calm: then a NOTIFY may carry the changes.';

create or replace function rowcast.tell_to_read(xid xid8) returns void language sql as $$
  select case when rowcast.is_calm()
                or not pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtext('rowcast'), 5)
                or rowcast.is_calm() -- since then
                or pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtext('rowcast'), 4)
              then pg_catalog.pg_notify('rowcast', $1::pg_catalog.text) end
$$;
comment on function rowcast.tell_to_read(xid8) is
  'Sends the NOTIFY of a transaction that says that there is something to read, unless the leading instance has muted it.';
drop function if exists rowcast.telling(), rowcast.tell(xid8, bigint, text);

create or replace function rowcast.end_long_transaction(log_row rowcast.log) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  done  rowcast.log;
  told  text;
  state text := current_setting('rowcast.state', true);
begin
  if coalesce(state, '') = '' or substring(state from '^ended (\d+)')::int >= log_row.part then
    raise exception 'rowcast: the settings of this transaction were reset after it had changed a watched table, and with them what was captured'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Call RESET ALL outside of transactions.';
  end if;
  if current_setting('rowcast.waits', true) = 'on' then
    -- What it may wait for was queued after this trigger: it is queued again, behind that.
    told := concat(set_config('rowcast.waits', '', true), set_config('rowcast.state', 'more', true));
    delete from rowcast.log l where l.slot = log_row.slot and l.xid = log_row.xid and l.id = log_row.id;
    insert into rowcast.log values (log_row.*) returning ctid::text into told;
    if current_setting('rowcast.row', true) <> '' and current_setting('rowcast.state') = 'more' then
      told := set_config('rowcast.row', told, true);
    end if;
    return;
  end if;
  done := rowcast.complete(log_row);
  told := set_config('rowcast.state', concat('ended ', done.part), true);
  if done.part > 0 then
    -- What follows a first part is always told of: the first may have been told before. Equal NOTIFYs of a transaction
    -- are one.
    told := concat(pg_notify('rowcast', done.xid::text));
  -- Where constraints are immediate, we are within the capture of a statement: others may be around it.
  elsif done.chunks = 0 and pg_trigger_depth() = 1 and octet_length(done.body) < 7900 and rowcast.is_calm() then
    told := concat(pg_notify('rowcast', concat(done.xid, ' ', done.id, ' ', to_json(done.at), E'\n', done.body)));
  else
    told := concat(rowcast.tell_to_read(done.xid));
  end if;
end $$;
comment on function rowcast.end_long_transaction(rowcast.log) is
  'What rowcast.end_transaction does for a transaction of several statements, of many rows or of some time.';

-- It runs with the search path of the writer, as pinning another costs a tenth of a transaction: so everything is named
-- in full.
create or replace function rowcast.end_transaction() returns trigger language plpgsql security definer as $$
declare
  done pg_catalog.text;
begin
  -- Most transactions are one statement of few rows: then the row is as it must be. Most others are a few of them: then it
  -- gets the lines of the others, as rowcast.complete does it.
  if pg_catalog.concat(pg_catalog.current_setting('rowcast.state'), pg_catalog.pg_trigger_depth()) operator(pg_catalog.=) 'open1'
     and pg_catalog.clock_timestamp() operator(pg_catalog.<) (new.at operator(pg_catalog.+) interval '50 ms')
     and pg_catalog.set_config('rowcast.state', 'ended 0', true) operator(pg_catalog.<>) ''
  then
    null;
  elsif pg_catalog.concat(pg_catalog.current_setting('rowcast.state'), pg_catalog.pg_trigger_depth(), pg_catalog.current_setting('rowcast.chunks', true), pg_catalog.current_setting('rowcast.row', true), pg_catalog.current_setting('rowcast.waits', true)) operator(pg_catalog.=) 'more1'
    and pg_catalog.current_setting('rowcast.lines', true) operator(pg_catalog.<>) ''
  then
    update rowcast.log l
       set id = pg_catalog.nextval('rowcast.log_id'), at = pg_catalog.clock_timestamp(), body = pg_catalog.concat(l.body, pg_catalog.current_setting('rowcast.lines'))
     where l.slot operator(pg_catalog.=) rowcast.slot() and l.xid operator(pg_catalog.=) new.xid and l.id operator(pg_catalog.=) new.id
    returning l.id, l.at, l.body into new.id, new.at, new.body;
    if not found then -- another slot is being written since
      select l.id, l.at, l.body into new.id, new.at, new.body
        from rowcast.log l where l.slot operator(pg_catalog.=) new.slot and l.xid operator(pg_catalog.=) new.xid and l.part operator(pg_catalog.=) new.part;
      done := rowcast.end_long_transaction(new);
      return old;
    end if;
    done := pg_catalog.concat(pg_catalog.set_config('rowcast.state', 'ended 0', true), pg_catalog.set_config('rowcast.lines', '', true));
  else
    done := rowcast.end_long_transaction(new);
    return old;
  end if;
  if pg_catalog.octet_length(new.body) operator(pg_catalog.<) 7900 and rowcast.is_calm() then
    done := pg_catalog.pg_notify('rowcast', pg_catalog.concat(new.xid, ' ', new.id, ' ', pg_catalog.to_json(new.at), E'\n', new.body));
  else
    done := rowcast.tell_to_read(new.xid);
  end if;
  return old; -- null, and no expression to make ready
end $$;
comment on function rowcast.end_transaction() is
  'Deferred constraint trigger on rowcast.log: completes the transaction''s row and sends its NOTIFY, with the changes when they fit, unless the leading instance has muted it.';

do $$
begin
  if not exists (select from pg_trigger where tgrelid = 'rowcast.log'::regclass and tgname = 'end_transaction') then
    create constraint trigger end_transaction after insert on rowcast.log
      deferrable initially deferred for each row execute function rowcast.end_transaction();
  end if;
end $$;

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

-- ── Triggers ───────────────────────────────────────────────────────────────────────────────────────────────────
-- Three of them are written for each table, by rowcast.write_captures: what stands here, the long way, with quick ways
-- before it for what most transactions are. They come where the line `-- quick` is. All before rowcast.pin runs with the
-- search path of the writer: so it is named in full.
--
-- Their argument: the key's column, where the key is one column and all columns are published: then there is nothing to
-- look up, as long as there is a column of that name. Otherwise none. (As a path into the row, tg_argv is taken whole:
-- subscripts cost more.)

create or replace function rowcast.take_mark_back() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('rowcast.state', case current_setting('rowcast.state') when 'openopen' then 'open' when 'ended 0o' then 'ended 0' end, true)
    where current_setting('rowcast.state') in ('openopen', 'ended 0o');
end $$;
comment on function rowcast.take_mark_back() is 'Takes back what the quick way of a table leaves in the state at each row but the first.';

create or replace function rowcast.capture_insert() returns trigger language plpgsql security definer as $$
#variable_conflict use_variable
begin
  -- quick
  declare
    pinned  pg_catalog.text[];
    keys    pg_catalog.text[];
    columns pg_catalog.text[];
    ticket  pg_catalog.int8;
    around  pg_catalog.bool;
    skip    pg_catalog.int4 := 0; -- rows that the quick way has captured
    line    pg_catalog.text;
    lines   pg_catalog.text := '';
    body    pg_catalog.text := '';
    done    pg_catalog.text;
  begin
    pinned := rowcast.pin();
    around := not found;
    if found then
      skip := 1;
      done := rowcast.take_mark_back();
    end if;
    ticket := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op); -- also of a statement that changed nothing: it has ended
    around := around and rowcast.is_around(ticket, tg_relid);
    if tg_nargs = 0 and exists (select from new_rows) then
      select s.keys, s.columns into keys, columns from rowcast.shape(tg_relid) s;
    end if;
    for line in
      select concat(ticket, ' i ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', rowcast.key_in(r.j, tg_argv, keys, tg_relid),
                    ',"new":', case when columns is null then r.j else rowcast.published(r.j, columns) end, E'\n')
        from (select to_jsonb(n.*) as j from new_rows n offset 0) r offset skip
    loop
      lines := lines || line;
      if octet_length(lines) > 7000 then
        body := body || lines;
        lines := '';
        if octet_length(body) > (case when around then 1000000 else 60000 end) then
          done := concat(rowcast.add_lines(ticket, body, around));
          body := '';
        end if;
      end if;
    end loop;
    done := concat(rowcast.add_lines(ticket, body || lines, around));
    done := rowcast.order_at_the_end(tg_relid);
    done := rowcast.unpin(pinned);
  end;
  return new;
end $$;
comment on function rowcast.capture_insert() is 'Trigger after each INSERT on a watched table.';

create or replace function rowcast.capture_update() returns trigger language plpgsql security definer as $$
#variable_conflict use_variable
begin
  -- quick
  declare
    pinned  pg_catalog.text[];
    keys    pg_catalog.text[];
    columns pg_catalog.text[];
    ticket  pg_catalog.int8;
    around  pg_catalog.bool;
    line    pg_catalog.text;
    lines   pg_catalog.text := '';
    body    pg_catalog.text := '';
    done    pg_catalog.text;
  begin
    pinned := rowcast.pin();
    ticket := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op); -- also of a statement that changed nothing: it has ended
    around := rowcast.is_around(ticket, tg_relid);
    if tg_nargs = 0 and exists (select from new_rows) then
      select s.keys, s.columns into keys, columns from rowcast.shape(tg_relid) s;
    end if;
    -- Old and new rows come in the same order. Where all have kept their keys, that pairs them. Otherwise they are paired
    -- by key, and by place where several share a key. A row whose key is gone was deleted, one whose key is new was
    -- inserted, in that order: no key is ever there twice. What an update changed is compared as text: as jsonb, 7 and
    -- 7.00 are equal.
    for line in
      with placed as materialized (
        select o.j as old_row, o.key as old_key, n.j as new_row, n.key as new_key, place
          from (select o.j, rowcast.key_in(o.j, tg_argv, keys, tg_relid) as key, row_number() over () as place
                  from (select case when columns is null then to_jsonb(o.*) else rowcast.published(to_jsonb(o.*), columns) end as j from old_rows o offset 0) o) o
          full join (select n.j, rowcast.key_in(n.j, tg_argv, keys, tg_relid) as key, row_number() over () as place
                  from (select case when columns is null then to_jsonb(n.*) else rowcast.published(to_jsonb(n.*), columns) end as j from new_rows n offset 0) n) n using (place)
      ), kept as materialized (
        select bool_and(coalesce(p.old_key = p.new_key, false)) as keys from placed p
      ), pairs as (
        select p.*, 1 as turn from placed p where (select k.keys from kept k)
        union all
        select b.old_row, b.old_key, a.new_row, a.new_key, coalesce(a.place, b.place),
               case when b.old_key is null then 2 when a.new_key is null then 0 else 1 end
          from (select p.*, row_number() over (partition by p.old_key order by p.place) as twin
                  from placed p where p.old_key is not null and not (select k.keys from kept k)) b
          full join (select p.*, row_number() over (partition by p.new_key order by p.place) as twin
                  from placed p where p.new_key is not null and not (select k.keys from kept k)) a
            on b.old_key = a.new_key and b.twin = a.twin
      ), names as (
        select array(select jsonb_object_keys(coalesce(p.new_row, p.old_row))) as names from placed p limit 1
      ), changes as (
        select p.*, case p.turn when 1 then p.old_row - array(
                 select c.name from unnest((select n.names from names n)) c (name) where (p.old_row -> c.name)::text = (p.new_row -> c.name)::text) end as changed
          from pairs p offset 0
      )
      select case c.turn
               when 0 then concat(ticket, ' d ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', c.old_key, ',"old":', c.old_row, E'\n')
               when 1 then concat(ticket, ' u ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', c.new_key, ',"new":', c.new_row, ',"old":', c.changed, E'\n')
               else concat(ticket, ' i ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', c.new_key, ',"new":', c.new_row, E'\n')
             end
        from changes c where c.turn <> 1 or c.changed <> '{}'
       order by c.turn, c.place
    loop
      lines := lines || line;
      if octet_length(lines) > 7000 then
        body := body || lines;
        lines := '';
        if octet_length(body) > (case when around then 1000000 else 60000 end) then
          done := concat(rowcast.add_lines(ticket, body, around));
          body := '';
        end if;
      end if;
    end loop;
    done := concat(rowcast.add_lines(ticket, body || lines, around));
    done := rowcast.order_at_the_end(tg_relid);
    done := rowcast.unpin(pinned);
  end;
  return new;
end $$;
comment on function rowcast.capture_update() is 'Trigger after each UPDATE on a watched table.';

create or replace function rowcast.capture_delete() returns trigger language plpgsql security definer as $$
#variable_conflict use_variable
begin
  -- quick
  declare
    pinned  pg_catalog.text[];
    keys    pg_catalog.text[];
    columns pg_catalog.text[];
    ticket  pg_catalog.int8;
    around  pg_catalog.bool;
    skip    pg_catalog.int4 := 0; -- rows that the quick way has captured
    line    pg_catalog.text;
    lines   pg_catalog.text := '';
    body    pg_catalog.text := '';
    done    pg_catalog.text;
  begin
    pinned := rowcast.pin();
    around := not found;
    if found then
      skip := 1;
      done := rowcast.take_mark_back();
    end if;
    ticket := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op); -- also of a statement that changed nothing: it has ended
    around := around and rowcast.is_around(ticket, tg_relid);
    if tg_nargs = 0 and exists (select from old_rows) then
      select s.keys, s.columns into keys, columns from rowcast.shape(tg_relid) s;
    end if;
    for line in
      select concat(ticket, ' d ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', rowcast.key_in(r.j, tg_argv, keys, tg_relid),
                    ',"old":', case when columns is null then r.j else rowcast.published(r.j, columns) end, E'\n')
        from (select to_jsonb(o.*) as j from old_rows o offset 0) r offset skip
    loop
      lines := lines || line;
      if octet_length(lines) > 7000 then
        body := body || lines;
        lines := '';
        if octet_length(body) > (case when around then 1000000 else 60000 end) then
          done := concat(rowcast.add_lines(ticket, body, around));
          body := '';
        end if;
      end if;
    end loop;
    done := concat(rowcast.add_lines(ticket, body || lines, around));
    done := rowcast.unpin(pinned);
  end;
  return new;
end $$;
comment on function rowcast.capture_delete() is 'Trigger after each DELETE on a watched table.';

create or replace function rowcast.capture_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ticket bigint := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op);
begin
  perform rowcast.add_lines(ticket, concat(ticket, ' t ', tg_relid, ' ', tg_relid::regclass, E'\t\n'));
  return new;
end $$;
comment on function rowcast.capture_truncate() is 'Trigger after each TRUNCATE of a watched table.';

-- They run with the rights of rowcast's owner, so nobody else makes a trigger of them: on a table of his own, whose
-- columns' types can run code of his. Whoever writes needs no right on them.
revoke all on function rowcast.capture_insert(), rowcast.capture_update(), rowcast.capture_delete(), rowcast.capture_truncate(),
  rowcast.end_transaction() from public;

insert into rowcast.migration (name) values ('003_capture') on conflict do nothing;
commit;
