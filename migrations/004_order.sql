-- rowcast: the order of lines.
--
-- A statement's ticket is where the write-ahead log stood when it began; less than any of those, a thousand for each level
-- of triggers, where nothing had been captured yet. It is captured when it ends, after the statements that its triggers ran,
-- so lines are sorted by ticket when they are read: each row's versions then come in the order in which they were made.
-- Where a row was made after statements within its own, rowcast.placed_lines gives it a ticket between theirs.
--
-- The settings that are read here are listed in 005_commit.

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

create or replace function rowcast.place_until(relation oid, ticket bigint) returns text language plpgsql as $$
declare
  setting pg_catalog.text := concat('rowcast.placing_', relation);
begin
  return concat(set_config('rowcast.placing', 'on', true),
                set_config(setting, greatest(nullif(current_setting(setting, true), '')::bigint, ticket)::text, true));
end $$;
comment on function rowcast.place_until(oid, bigint) is
  'Has the rows of statements on a table up to that ticket find their places by what was done with their keys.';

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
  -- What a foreign key cascades to begins one deeper than it ends. Where one of that kind is at this depth too, that is mostly
  -- around it: of those that end one after the other PostgreSQL makes one statement. But it begins anew where a trigger
  -- after a row has seen what was changed so far, so what was done with the keys has to tell.
  setting := concat('rowcast.running_', depth + 1, '_', relation, '_', operation);
  running := current_setting(setting, true);
  if coalesce(running, '') = '' then
    setting := concat('rowcast.running_', depth, '_', relation, '_', operation);
    running := current_setting(setting, true);
  elsif current_setting(concat('rowcast.running_', depth, '_', relation, '_', operation), true) <> '' then
    done := rowcast.place_until(relation, split_part(running, ' ', 1)::bigint);
  end if;
  if coalesce(running, '') = '' then
    return depth * 1000;
  end if;
  done := set_config(setting, substr(running, strpos(running, ' ') + 1), true);
  return split_part(running, ' ', 1);
end $$;
comment on function rowcast.ticket(int, oid, text) is
  'The ticket of the statement of a kind (tg_op) on a table that ends at a trigger depth; of the last that has begun where no kind is given, as by triggers that an earlier version wrote.';

-- ── What statements within others have done ────────────────────────────────────────────────────────────────────

-- The two of these that are SQL are run with the search path pinned; the planner takes them apart.
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
  if ticket <= nullif(current_setting(concat('rowcast.placing_', relation), true), '')::bigint then
    return true;
  elsif ticket >= 1000000 or coalesce(current_setting('rowcast.state', true), '') = '' then
    return false;
  elsif ticket < nullif(current_setting('rowcast.nested', true), '')::bigint then
    perform set_config('rowcast.nested', '', true);
    return false;
  end if;
  return rowcast.has_lines_of(relation);
end $$;
comment on function rowcast.is_around(bigint, oid) is
  'Whether statements that have been captured already may have run within the one of that ticket on a table, so that each of its rows has to find its place among theirs.';

insert into rowcast.migration (name) values ('004_order') on conflict do nothing;
commit;
