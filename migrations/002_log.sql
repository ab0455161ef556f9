-- rowcast: the log of commits, and how it is pruned.
-- A ring of slots (partitions), written one at a time and emptied by TRUNCATE: no row is ever deleted, so nothing bloats.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create sequence if not exists rowcast.log_id;
comment on sequence rowcast.log_id is 'Orders the log: taken at commit, while the transaction still holds its row locks.';

-- Immutable for as long as a plan lives: prune replaces the function when it moves on, which makes every plan anew.
-- So a writer knows its slot without reading anything.
-- It is taken apart within functions that run with the search path of a writer: so its type is named in full.
do $$
begin
  if to_regprocedure('rowcast.slot()') is null then
    create function rowcast.slot() returns int2 language sql immutable as 'select 0::pg_catalog.int2';
    comment on function rowcast.slot() is 'The slot of rowcast.log that is being written; replaced by rowcast.prune when it moves on to the next.';
  elsif (select prosrc from pg_proc where oid = to_regprocedure('rowcast.slot()')) !~ 'pg_catalog' then
    execute format('create or replace function rowcast.slot() returns int2 language sql immutable as %L', format('select %s::pg_catalog.int2', rowcast.slot()));
  end if;
end $$;

create table if not exists rowcast.log (
  slot   int2   not null,
  id     bigint not null,
  xid    xid8   not null,
  part   int    not null default 0,
  at     timestamptz not null,
  chunks int    not null default 0,
  body   text   not null
) partition by list (slot);
comment on table rowcast.log is 'What was committed, one row a transaction (more where it had its constraints fired early and went on).';
comment on column rowcast.log.slot is 'The slot of the ring that holds this row.';
comment on column rowcast.log.id is 'The order of the commits: taken at the end of the transaction.';
comment on column rowcast.log.xid is 'The transaction.';
comment on column rowcast.log.part is '0; 1, 2, … for what followed after constraints were fired before the end of the transaction.';
comment on column rowcast.log.at is 'When the transaction came to its end.';
comment on column rowcast.log.chunks is 'How many rows of rowcast.chunk come before body.';
comment on column rowcast.log.body is 'Changes, one a line: ticket, operation, table (its oid and its name), a tab, and the rest of the change in its wire form. In the order of their tickets they are in order.';

create table if not exists rowcast.chunk (
  slot   int2   not null,
  id     bigint not null,
  xid    xid8   not null,
  part   int    not null,
  ticket bigint not null,
  body   text   not null
) partition by list (slot);
comment on table rowcast.chunk is 'What large transactions changed, written as they went. In the order of (part, ticket, id), the lines in each in the order of their tickets, all is in order.';

create table if not exists rowcast.log_slot (
  slot       int2 primary key,
  started_at timestamptz,
  ended_at   timestamptz
);
comment on table rowcast.log_slot is 'Since when each slot of the log is being written, and when it was left for the next.';

do $$
begin
  for n in 0 .. 7 loop
    execute format('create table if not exists rowcast.log_%s partition of rowcast.log for values in (%s) with (toast_tuple_target = 8160)', n, n);
    execute format('create table if not exists rowcast.chunk_%s partition of rowcast.chunk for values in (%s) with (toast_tuple_target = 8160)', n, n);
    execute format('alter table rowcast.log_%s alter body set storage external', n);
    execute format('alter table rowcast.chunk_%s alter body set storage external', n);
    execute format('create index if not exists log_%s_xid_id on rowcast.log_%s (xid, id)', n, n);
    execute format('create index if not exists chunk_%s_xid on rowcast.chunk_%s (xid, part, ticket, id)', n, n);
  end loop;
  insert into rowcast.log_slot (slot, started_at)
    select n, case when n = 0 then clock_timestamp() end from generate_series(0, 7) n on conflict do nothing;
end $$;

create or replace function rowcast.slot_bytes(slot int2) returns bigint
language sql set search_path = pg_catalog, pg_temp as $$
  select pg_total_relation_size(format('rowcast.log_%s', slot)::regclass) + pg_total_relation_size(format('rowcast.chunk_%s', slot)::regclass)
$$;
comment on function rowcast.slot_bytes(int2) is 'The bytes on disk of one slot of the log.';

create or replace function rowcast.empty_slot(empty int2) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  newest xid8;
begin
  -- Who reads the log, or wrote to this slot and has not committed, holds a lock on it: then another time.
  begin
    execute format('lock table rowcast.log_%1$s, rowcast.chunk_%1$s in access exclusive mode nowait', empty);
  exception when lock_not_available then
    return false;
  end;
  execute format('select xid from ((select xid from rowcast.log_%1$s order by xid desc limit 1)
       union all (select xid from rowcast.chunk_%1$s order by xid desc limit 1)) newest order by xid desc limit 1', empty) into newest;
  update rowcast.install set pruned_xid = newest where newest > pruned_xid;
  execute format('truncate only rowcast.log_%1$s, only rowcast.chunk_%1$s', empty);
  update rowcast.log_slot set started_at = null, ended_at = null where slot = empty;
  return true;
end $$;
comment on function rowcast.empty_slot(int2) is
  'Empties one slot of the log, remembering the newest transaction removed. False, without waiting, when somebody uses it.';

create or replace function rowcast.prune(
  max_age interval default '24 hours', max_bytes bigint default 10737418240,
  out emptied int, out freed_bytes bigint, out log_bytes bigint
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  writing int2 := rowcast.slot();
  next    int2 := (writing + 1) % 8;
  oldest  record;
begin
  emptied := 0;
  freed_bytes := 0;
  select sum(rowcast.slot_bytes(n::int2)) into log_bytes from generate_series(0, 7) n;
  if not pg_try_advisory_xact_lock(hashtext('rowcast'), 1) then
    return; -- another instance is at it
  end if;

  for oldest in
    select s.slot, s.ended_at, rowcast.slot_bytes(s.slot) as bytes
      from rowcast.log_slot s where s.ended_at is not null order by s.ended_at
  loop
    exit when oldest.ended_at > clock_timestamp() - max_age and log_bytes <= max_bytes;
    exit when not rowcast.empty_slot(oldest.slot);
    emptied := emptied + 1;
    freed_bytes := freed_bytes + oldest.bytes;
    log_bytes := log_bytes - oldest.bytes;
  end loop;

  if exists (select from rowcast.log_slot where slot = next and started_at is null)
     and pg_relation_size(format('rowcast.log_%s', writing)::regclass) > 0
     and (   (select started_at from rowcast.log_slot where slot = writing) < clock_timestamp() - max_age / 6
          or rowcast.slot_bytes(writing) > max_bytes / 6)
  then
    update rowcast.log_slot set started_at = clock_timestamp() where slot = next;
    update rowcast.log_slot set ended_at = clock_timestamp() where slot = writing;
    execute format('create or replace function rowcast.slot() returns int2 language sql immutable as %L', format('select %s::pg_catalog.int2', next));
  end if;

  delete from rowcast.relation r where not exists (select from pg_class c where c.oid = r.relation);
  perform rowcast.renew_captures();
end $$;
comment on function rowcast.prune(interval, bigint) is
  'Removes from the log what is older than max_age, and the oldest beyond max_bytes on disk, a slot at a time; then moves on to a fresh slot when the one being written holds a sixth of either. Never waits for a lock, and does nothing while another call is at work. Gives the number of slots emptied, the bytes freed, and the bytes that the log takes now. Writes the triggers of tables that were altered again. Call it now and then (the service does); a slot in use is left for the next call. Runs with the rights of rowcast''s owner: grant EXECUTE to whoever shall prune.';

revoke all on function rowcast.prune(interval, bigint) from public;

-- A dump of another server brings transactions that are not yet here: they would look as if they came only now, again
-- and again.
create or replace function rowcast.is_foreign() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (select from rowcast.install i where i.pruned_xid >= pg_snapshot_xmax(pg_current_snapshot()))
      or exists (select from rowcast.relation r where r.since >= pg_snapshot_xmax(pg_current_snapshot()))
      or exists (select from rowcast.log l where l.xid >= pg_snapshot_xmax(pg_current_snapshot()))
$$;
comment on function rowcast.is_foreign() is 'Whether the log or what goes with it came from another server, by a dump, and has transactions that are not yet here.';

create or replace function rowcast.begin_anew() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  truncate rowcast.log, rowcast.chunk;
  update rowcast.log_slot set started_at = case when slot = rowcast.slot() then clock_timestamp() end, ended_at = null;
  update rowcast.install set token = default, pruned_xid = default;
  update rowcast.relation set since = pg_current_xact_id();
end $$;
comment on function rowcast.begin_anew() is
  'Empties the log and makes it another one: every client''s cursor is answered with reset. For a database that was restored from a dump of another server; the migrations call it there. Takes ACCESS EXCLUSIVE on the log: writers to watched tables wait.';
revoke all on function rowcast.begin_anew() from public;

do $$
begin
  if rowcast.is_foreign() then
    perform rowcast.begin_anew();
  end if;
end $$;

insert into rowcast.migration (name) values ('002_log') on conflict do nothing;
commit;
