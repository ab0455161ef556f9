-- rowcast: removes everything that the migrations and rowcast.watch made, and nothing else.
-- Takes ACCESS EXCLUSIVE on each watched table, briefly; gives up on a lock after 5 s.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;
drop schema if exists rowcast cascade;
commit;
