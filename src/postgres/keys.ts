/** What is wrong with the keys of watched tables: what keeps subscribers from telling rows apart. */
import type pg from 'pg';

export interface KeyFault {
  readonly table: string;
  /** `dropped`: a column of the key is gone; `twins`: no unique index; `nulls`: columns that may be null. */
  readonly fault: 'dropped' | 'twins' | 'nulls';
  /** What it is about, in words. */
  readonly found: string;
  /** SQL that mends it. */
  readonly remedy: string;
}

/** The same conditions as in `rowcast.watch`. */
const FAULTS = `
  with watched as (
    select w."table", w."table"::text as name, w.key, c.relkind,
           array(select a.attnum from pg_attribute a where a.attrelid = w."table" and a.attname = any (w.key)) as numbers,
           array(select quote_ident(a.attname) from pg_attribute a join pg_type t on t.oid = a.atttypid
                  where a.attrelid = w."table" and a.attname = any (w.key) and not a.attnotnull and not t.typnotnull
                  order by array_position(w.key, a.attname::text)) as nullable
      from rowcast.watched w join pg_class c on c.oid = w."table")
  select name as "table", 'dropped' as fault, 'a column of its key was dropped, so writes there fail' as found,
         format('select rowcast.watch(%L, key => array[''…'']) with columns that are there, or: select rowcast.unwatch(%L)', name, name) as remedy
    from watched where array_position(key, null) is not null
  union all
  select name, 'twins', format('no unique index makes its key (%s) unique', array_to_string(key, ', ')),
         format('create unique index %son %s (%s)', case relkind when 'r' then 'concurrently ' else '' end, name,
                (select string_agg(quote_ident(k), ', ' order by place) from unnest(key) with ordinality k (k, place)))
    from watched w
   where array_position(key, null) is null and not exists (
     select from pg_index i where i.indrelid = w."table" and i.indisunique and i.indisvalid and i.indpred is null
        and i.indexprs is null and (i.indkey::int2[])[0:i.indnkeyatts - 1] <@ w.numbers)
  union all
  select name, 'nulls', format('columns of its key may be null: %s', array_to_string(nullable, ', ')),
         format('alter table %s %s', name, (select string_agg(format('alter column %s set not null', n), ', ') from unnest(nullable) n))
    from watched where cardinality(nullable) > 0
  order by 1, 2`;

/** The faults, by table. */
export async function keyFaults(client: pg.ClientBase): Promise<readonly KeyFault[]> {
  return (await client.query<KeyFault>(FAULTS)).rows;
}
