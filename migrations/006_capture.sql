-- rowcast: the triggers after each statement.
--
-- Three of them are written for each table, by rowcast.write_captures (007_written): what stands here, the long way, with
-- quick ways before it for what most transactions are. They come where the line `-- quick` is. All before rowcast.pin runs
-- with the search path of the writer: so it is named in full.
--
-- Their argument: the key's column, where the key is one column and all columns are published: then there is nothing to
-- look up, as long as there is a column of that name. Otherwise none. (As a path into the row, tg_argv is taken whole:
-- subscripts cost more.)

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create or replace function rowcast.take_mark_back() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('rowcast.state', case current_setting('rowcast.state') when 'openopen' then 'open' when 'ended 0o' then 'ended 0' end, true)
    where current_setting('rowcast.state') in ('openopen', 'ended 0o');
end $$;
comment on function rowcast.take_mark_back() is 'Takes back what the quick way of a table leaves in the state at each row but the first.';

create or replace function rowcast.capture_insert() returns trigger language plpgsql security definer as $$
#variable_conflict use_variable
begin
  -- quick
  declare
    pinned  pg_catalog.text[];
    keys    pg_catalog.text[];
    columns pg_catalog.text[];
    ticket  pg_catalog.int8;
    around  pg_catalog.bool;
    skip    pg_catalog.int4 := 0; -- rows that the quick way has captured
    line    pg_catalog.text;
    lines   pg_catalog.text := '';
    body    pg_catalog.text := '';
    done    pg_catalog.text;
  begin
    pinned := rowcast.pin();
    around := not found;
    if found then
      skip := 1;
      done := rowcast.take_mark_back();
    end if;
    ticket := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op); -- also of a statement that changed nothing: it has ended
    around := around and rowcast.is_around(ticket, tg_relid);
    if tg_nargs = 0 and exists (select from new_rows) then
      select s.keys, s.columns into keys, columns from rowcast.shape(tg_relid) s;
    end if;
    for line in
      select concat(ticket, ' i ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', rowcast.key_in(r.j, tg_argv, keys, tg_relid),
                    ',"new":', case when columns is null then r.j else rowcast.published(r.j, columns) end, E'\n')
        from (select to_jsonb(n.*) as j from new_rows n offset 0) r offset skip
    loop
      lines := lines || line;
      if octet_length(lines) > 7000 then
        body := body || lines;
        lines := '';
        if octet_length(body) > (case when around then 1000000 else 60000 end) then
          done := concat(rowcast.add_lines(ticket, body, around));
          body := '';
        end if;
      end if;
    end loop;
    done := concat(rowcast.add_lines(ticket, body || lines, around));
    done := rowcast.order_at_the_end(tg_relid);
    done := rowcast.unpin(pinned);
  end;
  return new;
end $$;
comment on function rowcast.capture_insert() is 'Trigger after each INSERT on a watched table.';

create or replace function rowcast.capture_update() returns trigger language plpgsql security definer as $$
#variable_conflict use_variable
begin
  -- quick
  declare
    pinned  pg_catalog.text[];
    keys    pg_catalog.text[];
    columns pg_catalog.text[];
    ticket  pg_catalog.int8;
    around  pg_catalog.bool;
    line    pg_catalog.text;
    lines   pg_catalog.text := '';
    body    pg_catalog.text := '';
    done    pg_catalog.text;
  begin
    pinned := rowcast.pin();
    ticket := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op); -- also of a statement that changed nothing: it has ended
    around := rowcast.is_around(ticket, tg_relid);
    if tg_nargs = 0 and exists (select from new_rows) then
      select s.keys, s.columns into keys, columns from rowcast.shape(tg_relid) s;
    end if;
    -- Old and new rows come in the same order. Where all have kept their keys, that pairs them. Otherwise they are paired
    -- by key, and by place where several share a key. A row whose key is gone was deleted, one whose key is new was
    -- inserted, in that order: no key is ever there twice. What an update changed is compared as text: as jsonb, 7 and
    -- 7.00 are equal.
    for line in
      with placed as materialized (
        select o.j as old_row, o.key as old_key, n.j as new_row, n.key as new_key, place
          from (select o.j, rowcast.key_in(o.j, tg_argv, keys, tg_relid) as key, row_number() over () as place
                  from (select case when columns is null then to_jsonb(o.*) else rowcast.published(to_jsonb(o.*), columns) end as j from old_rows o offset 0) o) o
          full join (select n.j, rowcast.key_in(n.j, tg_argv, keys, tg_relid) as key, row_number() over () as place
                  from (select case when columns is null then to_jsonb(n.*) else rowcast.published(to_jsonb(n.*), columns) end as j from new_rows n offset 0) n) n using (place)
      ), kept as materialized (
        select bool_and(coalesce(p.old_key = p.new_key, false)) as keys from placed p
      ), pairs as (
        select p.*, 1 as turn from placed p where (select k.keys from kept k)
        union all
        select b.old_row, b.old_key, a.new_row, a.new_key, coalesce(a.place, b.place),
               case when b.old_key is null then 2 when a.new_key is null then 0 else 1 end
          from (select p.*, row_number() over (partition by p.old_key order by p.place) as twin
                  from placed p where p.old_key is not null and not (select k.keys from kept k)) b
          full join (select p.*, row_number() over (partition by p.new_key order by p.place) as twin
                  from placed p where p.new_key is not null and not (select k.keys from kept k)) a
            on b.old_key = a.new_key and b.twin = a.twin
      ), names as (
        select array(select jsonb_object_keys(coalesce(p.new_row, p.old_row))) as names from placed p limit 1
      ), changes as (
        select p.*, case p.turn when 1 then p.old_row - array(
                 select c.name from unnest((select n.names from names n)) c (name) where (p.old_row -> c.name)::text = (p.new_row -> c.name)::text) end as changed
          from pairs p offset 0
      )
      select case c.turn
               when 0 then concat(ticket, ' d ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', c.old_key, ',"old":', c.old_row, E'\n')
               when 1 then concat(ticket, ' u ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', c.new_key, ',"new":', c.new_row, ',"old":', c.changed, E'\n')
               else concat(ticket, ' i ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', c.new_key, ',"new":', c.new_row, E'\n')
             end
        from changes c where c.turn <> 1 or c.changed <> '{}'
       order by c.turn, c.place
    loop
      lines := lines || line;
      if octet_length(lines) > 7000 then
        body := body || lines;
        lines := '';
        if octet_length(body) > (case when around then 1000000 else 60000 end) then
          done := concat(rowcast.add_lines(ticket, body, around));
          body := '';
        end if;
      end if;
    end loop;
    done := concat(rowcast.add_lines(ticket, body || lines, around));
    done := rowcast.order_at_the_end(tg_relid);
    done := rowcast.unpin(pinned);
  end;
  return new;
end $$;
comment on function rowcast.capture_update() is 'Trigger after each UPDATE on a watched table.';

create or replace function rowcast.capture_delete() returns trigger language plpgsql security definer as $$
#variable_conflict use_variable
begin
  -- quick
  declare
    pinned  pg_catalog.text[];
    keys    pg_catalog.text[];
    columns pg_catalog.text[];
    ticket  pg_catalog.int8;
    around  pg_catalog.bool;
    skip    pg_catalog.int4 := 0; -- rows that the quick way has captured
    line    pg_catalog.text;
    lines   pg_catalog.text := '';
    body    pg_catalog.text := '';
    done    pg_catalog.text;
  begin
    pinned := rowcast.pin();
    around := not found;
    if found then
      skip := 1;
      done := rowcast.take_mark_back();
    end if;
    ticket := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op); -- also of a statement that changed nothing: it has ended
    around := around and rowcast.is_around(ticket, tg_relid);
    if tg_nargs = 0 and exists (select from old_rows) then
      select s.keys, s.columns into keys, columns from rowcast.shape(tg_relid) s;
    end if;
    for line in
      select concat(ticket, ' d ', tg_relid, ' ', tg_relid::regclass, E'\t"key":', rowcast.key_in(r.j, tg_argv, keys, tg_relid),
                    ',"old":', case when columns is null then r.j else rowcast.published(r.j, columns) end, E'\n')
        from (select to_jsonb(o.*) as j from old_rows o offset 0) r offset skip
    loop
      lines := lines || line;
      if octet_length(lines) > 7000 then
        body := body || lines;
        lines := '';
        if octet_length(body) > (case when around then 1000000 else 60000 end) then
          done := concat(rowcast.add_lines(ticket, body, around));
          body := '';
        end if;
      end if;
    end loop;
    done := concat(rowcast.add_lines(ticket, body || lines, around));
    done := rowcast.unpin(pinned);
  end;
  return new;
end $$;
comment on function rowcast.capture_delete() is 'Trigger after each DELETE on a watched table.';

create or replace function rowcast.capture_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ticket bigint := rowcast.ticket(pg_trigger_depth(), tg_relid, tg_op);
begin
  perform rowcast.add_lines(ticket, concat(ticket, ' t ', tg_relid, ' ', tg_relid::regclass, E'\t\n'));
  return new;
end $$;
comment on function rowcast.capture_truncate() is 'Trigger after each TRUNCATE of a watched table.';

-- They run with the rights of rowcast's owner, so nobody else makes a trigger of them: on a table of his own, whose
-- columns' types can run code of his. Whoever writes needs no right on them.
revoke all on function rowcast.capture_insert(), rowcast.capture_update(), rowcast.capture_delete(), rowcast.capture_truncate(),
  rowcast.end_transaction() from public;

insert into rowcast.migration (name) values ('006_capture') on conflict do nothing;
commit;
