-- The demo of rowcast: a table of messages that anyone may subscribe to.
-- Runs after the migrations, by itself (psql -f) and by `rowcast dev`; again and again without harm.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

do $$
begin
  if to_regclass('public.messages') is null then
    create table public.messages (
      id         bigint generated always as identity primary key,
      room_id    int not null default 1,
      content    text not null,
      created_at timestamptz not null default now()
    );
    comment on table public.messages is 'The demo of rowcast. Everyone may read it.';
  elsif obj_description('public.messages'::regclass, 'pg_class') is distinct from 'The demo of rowcast. Everyone may read it.' then
    raise exception 'this database has a table public.messages that is not the demo''s, and would be made readable to everyone'
      using errcode = 'duplicate_table', hint = 'Use an empty database for the demo.';
  end if;

  if not exists (select from rowcast.watched where "table" = 'public.messages'::regclass and access = 'public' and capturing) then
    perform rowcast.watch('public.messages', access => 'public');
  end if;
end $$;
commit;
