/** The tables that measurements write to: the demo's `messages`, one for each side. */

/** SQL that creates such a table. */
export function createMessages(table: string): string {
  return `create table ${table} (
    id bigint generated always as identity primary key,
    room_id integer not null default 1,
    content text not null,
    created_at timestamptz not null default now()
  )`;
}

/** SQL that has rowcast watch it, readable by everyone. */
export function watch(table: string): string {
  return `select rowcast.watch('${table}', access => 'public')`;
}

/**
 * SQL that creates the least trigger that keeps a log: a row for each row, and one index. Nobody is told, nothing is in
 * order, and several statements are several rows.
 */
export function logBarely(table: string): string {
  return `
    create table bare_log (id bigint generated always as identity, xid xid8 not null, body text not null);
    create index on bare_log (xid, id);
    create function log_barely() returns trigger language plpgsql as $$
      begin
        insert into bare_log (xid, body) values (pg_current_xact_id(), row_to_json(new)::text);
        return null;
      end $$;
    create trigger log_barely after insert or update on ${table} for each row execute function log_barely()`;
}

/** SQL that creates the trigger that everyone writes first. */
export function notifyNaively(table: string): string {
  return `
    create function naive() returns trigger language plpgsql as $$
      begin
        perform pg_notify('x', row_to_json(new)::text);
        return null;
      end $$;
    create trigger naive after insert or update on ${table} for each row execute function naive()`;
}
