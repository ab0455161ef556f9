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
