-- rowcast: the log of commits, and how it is pruned.
-- A ring of slots (partitions), written one at a time and emptied by TRUNCATE: no row is ever deleted, so nothing bloats.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create sequence if not exists rowcast.log_id;
comment on sequence rowcast.log_id is 'Orders the log: taken at commit, while the transaction still holds its row locks.';

create sequence if not exists rowcast.log_slot minvalue 0 start 0;
comment on sequence rowcast.log_slot is 'Its last_value is the slot of rowcast.log that is being written; rowcast.prune moves it on.';

create table if not exists rowcast.log (
  slot   int2   not null,
  id     bigint not null,
  xid    xid8   not null,
  ticket int    not null,
  at     timestamptz,
  part   int    not null,
  chunks int    not null,
  body   text   not null
) partition by list (slot);
comment on table rowcast.log is
  'What was committed, one row a transaction. A large transaction also has chunk rows, written as it went; one that fires its constraints early has several parts.';
comment on column rowcast.log.slot is 'The slot of the ring that holds this row.';
comment on column rowcast.log.xid is 'The transaction.';
comment on column rowcast.log.ticket is 'The lowest ticket among the changes of this row: rows of one transaction are in the order of their tickets.';
comment on column rowcast.log.at is 'When the transaction came to its end; null in a chunk.';
comment on column rowcast.log.part is 'In a commit row 0; 1, 2, … where constraints were fired before the end of the transaction and more changes followed.';
comment on column rowcast.log.chunks is 'In a commit row: how many chunk rows this transaction has written before it.';
comment on column rowcast.log.body is 'Changes, one a line: ticket, table (oid), a tab, the change in its wire form.';

create table if not exists rowcast.slot (
  slot       int2 primary key,
  started_at timestamptz,
  ended_at   timestamptz
);
comment on table rowcast.slot is 'Since when each slot of the log is being written, and when it was left for the next.';

do $$
begin
  for n in 0 .. 7 loop
    execute format('create table if not exists rowcast.log_%s partition of rowcast.log for values in (%s)
      with (toast_tuple_target = 8160, autovacuum_enabled = true)', n, n);
    execute format('alter table rowcast.log_%s alter body set storage external', n);
    execute format('create index if not exists log_%s_commit on rowcast.log_%s (xid, id) where at is not null', n, n);
    execute format('create index if not exists log_%s_chunk on rowcast.log_%s (xid, ticket, id) where at is null', n, n);
  end loop;
  insert into rowcast.slot (slot, started_at)
    select n, case when n = 0 then clock_timestamp() end from generate_series(0, 7) n on conflict do nothing;
  if not (select is_called from rowcast.log_slot) then
    perform setval('rowcast.log_slot', 0);
  end if;
end $$;

create or replace function rowcast.empty_slot(empty int2) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  leaf   regclass := format('rowcast.log_%s', empty)::regclass;
  newest xid8;
begin
  -- Who reads the log, or wrote to this slot and has not committed, holds a lock on it: then another time.
  begin
    execute format('lock table %s in access exclusive mode nowait', leaf);
  exception when lock_not_available then
    return false;
  end;
  execute format(
    'select xid from ((select xid from %1$s where at is not null order by xid desc limit 1)
       union all (select xid from %1$s where at is null order by xid desc limit 1)) newest order by xid desc limit 1',
    leaf) into newest;
  update rowcast.install set pruned_xid = newest where newest > pruned_xid;
  execute format('truncate only %s', leaf);
  update rowcast.slot set started_at = null, ended_at = null where slot = empty;
  return true;
end $$;
comment on function rowcast.empty_slot(int2) is
  'Empties one slot of the log, remembering the newest transaction removed. False, without waiting, when somebody uses it.';

create or replace function rowcast.prune(
  max_age interval default '24 hours', max_bytes bigint default 10737418240,
  out emptied int, out freed_bytes bigint, out log_bytes bigint
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  writing int2;
  next    int2;
  oldest  record;
begin
  emptied := 0;
  freed_bytes := 0;
  select coalesce(sum(pg_total_relation_size(inhrelid)), 0) into log_bytes
    from pg_inherits where inhparent = 'rowcast.log'::regclass;
  if not pg_try_advisory_xact_lock(hashtext('rowcast'), 1) then
    return; -- another instance is at it
  end if;

  for oldest in
    select s.slot, s.ended_at, pg_total_relation_size(format('rowcast.log_%s', s.slot)::regclass) as bytes
      from rowcast.slot s where s.ended_at is not null order by s.ended_at
  loop
    exit when oldest.ended_at > clock_timestamp() - max_age and log_bytes <= max_bytes;
    exit when not rowcast.empty_slot(oldest.slot);
    emptied := emptied + 1;
    freed_bytes := freed_bytes + oldest.bytes;
    log_bytes := log_bytes - oldest.bytes;
  end loop;

  -- The sequence moves even when the call that moved it was rolled back: the slots follow it.
  select last_value into writing from rowcast.log_slot;
  update rowcast.slot set started_at = coalesce(started_at, clock_timestamp()), ended_at = null
    where slot = writing and (started_at is null or ended_at is not null);
  update rowcast.slot set ended_at = clock_timestamp()
    where slot <> writing and started_at is not null and ended_at is null;
  next := (writing + 1) % 8;
  if exists (select from rowcast.slot where slot = next and started_at is null)
     and pg_relation_size(format('rowcast.log_%s', writing)::regclass) > 0
     and (   (select started_at from rowcast.slot where slot = writing) < clock_timestamp() - max_age / 6
          or pg_total_relation_size(format('rowcast.log_%s', writing)::regclass) > max_bytes / 6)
  then
    update rowcast.slot set started_at = clock_timestamp() where slot = next;
    update rowcast.slot set ended_at = clock_timestamp() where slot = writing;
    perform setval('rowcast.log_slot', next);
  end if;

  delete from rowcast.relation r where not exists (select from pg_class c where c.oid = r.relation);
end $$;
comment on function rowcast.prune(interval, bigint) is
  'Removes from the log what is older than max_age, and the oldest beyond max_bytes on disk, a slot at a time; then moves on to a fresh slot when the one being written holds a sixth of either. Never waits for a lock, and does nothing while another call is at work. Gives the number of slots emptied, the bytes freed, and the bytes that the log takes now. Call it now and then (the service does); a slot in use is left for the next call.';

insert into rowcast.migration (name) values ('002_log') on conflict do nothing;
commit;
