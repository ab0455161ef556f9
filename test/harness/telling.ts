/** A way into what is otherwise a moment: between the locks that a writer tests before its NOTIFY. */

/** Has what tells of a transaction test each of its locks by `public.tried(lock int)`, and is the same for the rest. */
export const TELLING_BY_TRIED = `do $$
  declare
    telling regprocedure;
    source  text;
    tested  text := 'pg_catalog.pg_try_advisory_xact_lock_shared\\(pg_catalog.hashtext\\(''rowcast''\\), (\\d)\\)';
  begin
    telling := 'rowcast.tell_to_read(xid8)';
    source := pg_get_functiondef(telling);
    if source !~ tested then raise '% does not test its locks as it used to', telling; end if;
    execute regexp_replace(source, tested, 'public.tried(\\1)', 'g');
  end $$`;
