-- rowcast: capture. Statement triggers turn what a statement did into lines, gathered in transaction-local
-- settings (rowcast.lines and its siblings), so a rolled-back savepoint takes its lines with it; a deferred
-- constraint trigger, enlisted by the transaction's first row, writes them as one log row and one NOTIFY.
--
-- A line is `ticket table-oid TAB change NEWLINE`. Statements take their ticket when they begin and are captured
-- when they end, after the statements that their triggers ran: sorting by ticket gives the order in which they began.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

-- ── Tickets ────────────────────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.take_ticket() returns trigger language plpgsql as $$
declare
  ticket text := coalesce(nullif(current_setting('rowcast.ticket', true), '')::int, 0) + 1;
begin
  perform set_config('rowcast.ticket', ticket, true),
          set_config('rowcast.ticket_' || pg_trigger_depth(), ticket, true);
  return null;
end $$;
comment on function rowcast.take_ticket() is
  'Trigger, before each statement on a watched table: numbers the statement.';

create or replace function rowcast.take_tree_ticket() returns trigger language plpgsql as $$
declare
  ticket text := coalesce(nullif(current_setting('rowcast.ticket', true), '')::int, 0) + 1;
begin
  perform set_config('rowcast.ticket', ticket, true),
          set_config('rowcast.ticket_' || pg_trigger_depth(), ticket, true),
          set_config('rowcast.covered', format('%s[%s:%s]', current_setting('rowcast.covered', true), tg_relid, pg_trigger_depth()), true);
  return null;
end $$;
comment on function rowcast.take_tree_ticket() is
  'Trigger, the same for a table with partitions or children: also notes that its statement triggers cover the rows below it.';

create or replace function rowcast.is_covered(root oid) returns boolean language sql stable as $$
  select strpos(coalesce(current_setting('rowcast.covered', true), ''), format('[%s:%s]', root, pg_trigger_depth() + 1)) > 0
$$;
comment on function rowcast.is_covered(oid) is
  'Whether the statement under way is one on the root itself, captured there, and not one on a partition or child directly.';

-- ── From rows to lines ─────────────────────────────────────────────────────────────────────────────────────────

create or replace function rowcast.pick(row_json jsonb, names text[]) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return (select coalesce(jsonb_object_agg(e.key, e.value), '{}') from jsonb_each(row_json) e where e.key = any (names));
end $$;
comment on function rowcast.pick(jsonb, text[]) is 'The named members of a row.';

create or replace function rowcast.key_of(row_json jsonb, names text[]) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case when row_json ?& names
    then (select jsonb_object_agg(name, row_json -> name) from unnest(names) name) end;
end $$;
comment on function rowcast.key_of(jsonb, text[]) is 'The key of a row; null when the row lacks a column of it.';

create or replace function rowcast.changed(old_json jsonb, new_json jsonb) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  -- Compared as text: as jsonb, 7 and 7.00 are equal.
  return (select jsonb_object_agg(e.key, e.value) from jsonb_each(old_json) e
           where e.value::text is distinct from (new_json -> e.key)::text);
end $$;
comment on function rowcast.changed(jsonb, jsonb) is
  'The columns of the old row that the new row has otherwise; null when there is none.';

create or replace function rowcast.prefix(relation oid, table_name text, op text) returns text
language sql immutable as $$
  select concat(relation, E'\t{"op":"', op, '","table":', to_json(table_name))
$$;

create or replace function rowcast.capture_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  keys   text[] := tg_argv[0];
  ticket int    := current_setting('rowcast.ticket_' || pg_trigger_depth());
  start  text   := concat(ticket, ' ', tg_relid, E'\t{"op":"insert","table":', to_json(concat(tg_table_schema, '.', tg_table_name)), ',"key":');
  lines  text;
  rows   int;
begin
  select count(*), string_agg(concat(start, jsonb_build_object(keys[1], j -> keys[1]), ',"new":', j, E'}\n'), '')
    into rows, lines
    from (select to_jsonb(n) as j from new_rows n limit 100) n;
  perform set_config('rowcast.lines', concat(current_setting('rowcast.lines', true), lines), true);
  return null;
end $$;

create or replace function rowcast.commit() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  lines text := current_setting('rowcast.lines', true);
  header text;
begin
  insert into rowcast.log (slot, id, xid, ticket, at, part, chunks, body)
    select last_value, nextval('rowcast.log_id'), pg_current_xact_id(), 1, clock_timestamp(), 0, 0, lines from rowcast.log_slot
    returning concat(xid, ' ', id, ' ', (extract(epoch from at) * 1000000)::bigint, E'\n') into header;
  perform set_config('rowcast.lines', '', true), set_config('rowcast.enlisted', '', true);
  perform pg_notify('rowcast', header || lines);
  return null;
end $$;
commit;
