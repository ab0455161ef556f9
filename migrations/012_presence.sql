-- rowcast: presence, who is in a channel.
-- A table like any other that is watched, rowcast.presence: one row a session in a channel, written by the instance that
-- the session is on, many at a time. An instance holds an advisory lock, (hashtext('rowcast.presence'), its number), for
-- as long as its connection lives; the others remove the rows of one whose lock is free.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

-- Who may join a channel, where the configuration says that presence is kept, may read its rows.
do $$
begin
  if pg_get_constraintdef((select c.oid from pg_constraint c where c.conrelid = 'rowcast.relation'::regclass and c.conname = 'relation_access_check')) not like '%channel%' then
    alter table rowcast.relation drop constraint relation_access_check;
    alter table rowcast.relation add constraint relation_access_check check (access in ('public', 'authenticated', 'scoped', 'channel'));
  end if;
end $$;

create sequence if not exists rowcast.instance_number as int cycle;
comment on sequence rowcast.instance_number is 'Numbers for instances that keep presence.';

create table if not exists rowcast.instance (
  number int primary key,
  since  timestamptz not null default clock_timestamp()
);
comment on table rowcast.instance is 'The instances that keep presence: each holds the advisory lock of its number while it lives.';

create table if not exists rowcast.presence (
  channel  text not null,
  session  text not null,
  "user"   text,
  since    timestamptz not null,
  instance int not null,
  primary key (channel, session)
);
comment on table rowcast.presence is
  'Who is in the channels that clients may see the presence of: subscribe to it with channel=eq.NAME. Kept by the instances; rowcast.enroll watches it.';
comment on column rowcast.presence.channel is 'The channel, by its name.';
comment on column rowcast.presence.session is 'The session that is subscribed to it.';
comment on column rowcast.presence."user" is 'The user of its token; null without one.';
comment on column rowcast.presence.since is 'Since when it is there.';
comment on column rowcast.presence.instance is 'The instance that it is connected to; not published.';

create or replace function rowcast.enroll(instance int default null) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  number int := instance;
begin
  if number is null then
    loop
      number := nextval('rowcast.instance_number');
      exit when pg_try_advisory_lock(hashtext('rowcast.presence'), number);
    end loop;
  else
    perform pg_advisory_lock(hashtext('rowcast.presence'), number);
  end if;
  insert into rowcast.instance as i (number) values (number) on conflict do nothing;
  if not exists (select from rowcast.relation r where r.relation = 'rowcast.presence'::regclass) then
    perform rowcast.watch('rowcast.presence', array['channel', 'session', 'user', 'since'], access => 'channel');
  end if;
  return number;
end $$;
comment on function rowcast.enroll(int) is
  'For the service: takes the advisory lock of an instance until the connection ends, and gives its number. Null: of a new one; else it waits until an earlier connection of the same instance has ended. From then on it may keep presence.';

create or replace function rowcast.attend(instance int, joined jsonb, gone jsonb) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform from rowcast.instance i where i.number = instance for key share;
  if not found then
    return false;
  end if;
  delete from rowcast.presence p using jsonb_to_recordset(gone) g (channel text, session text)
   where p.channel = g.channel and p.session = g.session;
  insert into rowcast.presence as p (channel, session, "user", since, instance)
    select j.channel, j.session, j."user", j.since, attend.instance
      from jsonb_to_recordset(joined) j (channel text, session text, "user" text, since timestamptz)
    on conflict on constraint presence_pkey do update set "user" = excluded."user" where p."user" is distinct from excluded."user";
  return true;
end $$;
comment on function rowcast.attend(int, jsonb, jsonb) is
  'For the service, on the connection that has the lock: who has come, [{"channel", "session", "user", "since"}], and who has gone, [{"channel", "session"}]. False, and nothing is done, where the instance was taken for gone: then enroll again, and tell of all.';

create or replace function rowcast.forget_absent(instance int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  absent  int;
  removed int;
  -- Not more than can be captured soon: the rest next time.
  room    int := 20000;
begin
  for absent in
    select i.number from rowcast.instance i
     where i.number <> instance and pg_try_advisory_xact_lock(hashtext('rowcast.presence'), i.number)
  loop
    delete from rowcast.presence p
     where p.ctid = any (array(select o.ctid from rowcast.presence o where o.instance = absent limit room));
    get diagnostics removed = row_count;
    room := room - removed;
    exit when room = 0;
    delete from rowcast.instance i where i.number = absent;
  end loop;
  return 20000 - room;
end $$;
comment on function rowcast.forget_absent(int) is
  'For the service: removes the presence of instances that are gone, up to 20,000 rows at a time, and gives how many. Takes the number of the instance that asks.';

revoke all on function rowcast.enroll(int), rowcast.attend(int, jsonb, jsonb), rowcast.forget_absent(int) from public;

insert into rowcast.migration (name) values ('012_presence') on conflict do nothing;
commit;
