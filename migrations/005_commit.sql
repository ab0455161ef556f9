-- rowcast: from lines to the log.
--
-- Lines are added to what the transaction will commit, and its end completes that and tells of it.
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
--   rowcast.nested         the ticket of what was captured first, where that was a statement of a trigger
--   rowcast.placing        `on`: rows of some table find their places by what was done with their keys
--   rowcast.placing_<oid>  those of statements on that table up to this ticket: one within another has deleted rows, or
--                          which of two has ended cannot be told
--   rowcast.covered        the partitioned tables under way, whose own triggers capture their partitions

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

-- ── While the transaction is under way ─────────────────────────────────────────────────────────────────────────

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
  elsif is_around is null and concat(current_setting('rowcast.placing', true), current_setting('rowcast.spilled', true)) <> '' then
    is_around := rowcast.is_around(ticket, split_part(new_lines, ' ', 3)::oid);
  end if;
  if is_around then
    perform rowcast.add_placed(ticket, new_lines);
    return;
  end if;
  if split_part(new_lines, ' ', 2) = 'd' then -- deletes come first
    place := concat('rowcast.running_1_', split_part(new_lines, ' ', 3));
    if pg_trigger_depth() > 1 or concat(current_setting('rowcast.nested', true), current_setting(concat(place, '_INSERT'), true),
         current_setting(concat(place, '_UPDATE'), true), current_setting(concat(place, '_DELETE'), true)) <> '' then
      done := rowcast.place_until(split_part(new_lines, ' ', 3)::oid, ticket);
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
    done := set_config('rowcast.nested', ticket::text, true);
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

-- ── At its end ─────────────────────────────────────────────────────────────────────────────────────────────────

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
  select case when not pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtext('rowcast'), 5)
                or rowcast.is_calm()
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
  if coalesce(state, '') = '' or substring(state from '^ended (\d+)')::int >= log_row.part
     or coalesce(nullif(current_setting('rowcast.part', true), '')::int, 0) > log_row.part
  then
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

insert into rowcast.migration (name) values ('005_commit') on conflict do nothing;
commit;
