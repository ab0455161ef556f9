-- rowcast: the role rowcast_service, with the least rights that an instance works with.
-- Run it with psql -f, as the owner of schema rowcast, of the watched tables and with CREATEROLE (or as a superuser), after
-- the migrations; and again whenever rowcast.watch was called, for the snapshots of that table. It sets no password and
-- takes no right away: ALTER ROLE rowcast_service PASSWORD '…' (or \password rowcast_service in psql) does the first.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';

do $$
declare
  watched record;
begin
  if not exists (select from pg_roles where rolname = 'rowcast_service') then
    create role rowcast_service login;
  end if;
  execute format('grant connect on database %I to rowcast_service', current_database());

  -- Snapshots read watched tables, and lock them against being rewritten meanwhile, for which the right on some columns
  -- would not do; changes need no right on them.
  for watched in
    select n.nspname, c.relname from rowcast.watched w join pg_class c on c.oid = w."table" join pg_namespace n on n.oid = c.relnamespace
     where n.nspname <> 'rowcast'
  loop
    execute format('grant usage on schema %I to rowcast_service', watched.nspname);
    execute format('grant select on %I.%I to rowcast_service', watched.nspname, watched.relname);
  end loop;
end $$;

grant usage on schema rowcast to rowcast_service;
grant select on all tables in schema rowcast to rowcast_service;
grant execute on function rowcast.slot_bytes(int2), rowcast.current_names(oid, text[], int2[], oid), rowcast.table_shape(regclass),
  rowcast.is_foreign(), rowcast.prune(interval, bigint), rowcast.relay(jsonb), rowcast.announce(jsonb), rowcast.enroll(int),
  rowcast.attend(int, jsonb, jsonb), rowcast.forget_absent(int) to rowcast_service;
commit;
