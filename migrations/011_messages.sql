-- rowcast: messages on channels and to users, and what instances tell each other.
-- They are lines of the log like changes: sent where the transaction commits, in its order, to every instance. The line
-- of a message has 0 for its table, and for its name that of the channel or of the user, as JSON.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create or replace function rowcast.add_message(operation text, name text, event text, payload jsonb, sender text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ticket bigint := pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
  what   text   := case operation when 'm' then 'channel' else 'user' end;
begin
  if name is null or name = '' or length(name) > 128 then
    raise exception 'rowcast: the name of a % has 1 to 128 characters; this one %', what, case when name is null then 'is null' else 'has ' || length(name) end
      using errcode = 'invalid_parameter_value';
  elsif event is null or event = '' or length(event) > 128 then
    raise exception 'rowcast: the event of a message has 1 to 128 characters; this one %', case when event is null then 'is null' else 'has ' || length(event) end
      using errcode = 'invalid_parameter_value';
  end if;
  perform rowcast.add_lines(ticket, concat(ticket, ' ', operation, ' 0 ', to_json(name), E'\t"event":', to_json(event),
                                           ',"payload":', coalesce(payload, 'null'), ',"from":', coalesce(to_json(sender), 'null'), E'\n'));
end $$;
comment on function rowcast.add_message(text, text, text, jsonb, text) is
  'Adds a message to what the transaction will commit: m, to a channel; p, to a user. Raises invalid_parameter_value for a name or an event that is missing or too long.';

create or replace function rowcast.publish(channel text, event text, payload jsonb default null) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select rowcast.add_message('m', channel, event, payload, null)
$$;
comment on function rowcast.publish(text, text, jsonb) is
  'Publishes a message on a channel: whoever is subscribed to #channel gets it once the transaction has committed. Name and event have 1 to 128 characters, else it raises invalid_parameter_value; a payload of null is null.';

create or replace function rowcast.send("user" text, event text, payload jsonb default null) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select rowcast.add_message('p', "user", event, payload, null)
$$;
comment on function rowcast.send(text, text, jsonb) is
  'Sends a private message to a user, as tokens name him by sub: all of his connections that are subscribed to @me get it once the transaction has committed, and those that come back with a cursor. Name and event have 1 to 128 characters, else it raises invalid_parameter_value.';

create or replace function rowcast.relay(messages jsonb) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select rowcast.add_message(case when m.message ? 'channel' then 'm' else 'p' end, coalesce(m.message ->> 'channel', m.message ->> 'user'),
                             m.message ->> 'event', m.message -> 'payload', m.message ->> 'from')
    from jsonb_array_elements(messages) with ordinality m (message, place) order by m.place
$$;
comment on function rowcast.relay(jsonb) is
  'For the service: messages of clients, in order, each {"channel" or "user", "event", "payload", "from"}.';

create or replace function rowcast.announce(what jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ticket bigint := pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
begin
  perform rowcast.add_lines(ticket, concat(ticket, ' k 0 -', E'\t', what, E'\n'));
end $$;
comment on function rowcast.announce(jsonb) is 'For the service: tells all instances, this one too, in the order of commits.';

-- Whoever may publish is told apart from whoever may write to tables: GRANT EXECUTE says so.
revoke all on function rowcast.add_message(text, text, text, jsonb, text), rowcast.publish(text, text, jsonb), rowcast.send(text, text, jsonb),
  rowcast.relay(jsonb), rowcast.announce(jsonb) from public;

insert into rowcast.migration (name) values ('011_messages') on conflict do nothing;
commit;
