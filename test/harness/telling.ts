/** A way into what is otherwise a moment: between the locks that a writer tests before its NOTIFY. */

/** Has `rowcast.tell` test each of its locks by `public.tried(lock int)`, and is the same for the rest. */
export const TELLING_BY_TRIED = `do $$
  declare
    source text := pg_get_functiondef('rowcast.tell(xid8,bigint,text)'::regprocedure);
    tested text := 'pg_catalog.pg_try_advisory_xact_lock_shared\\(pg_catalog.hashtext\\(''rowcast''\\), (\\d)\\)';
  begin
    if source !~ tested then raise 'rowcast.tell does not test its locks as it used to'; end if;
    execute regexp_replace(source, tested, 'public.tried(\\1)', 'g');
  end $$`;
