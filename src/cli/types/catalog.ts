/** The watched tables and the types of their columns, as PostgreSQL's catalog has them. */
import type pg from 'pg';

export interface ColumnOf {
  readonly name: string;
  /** The type's oid. */
  readonly type: number;
  /** As declared: PostgreSQL does not hold arrays to it. */
  readonly dimensions: number;
  readonly notNull: boolean;
  readonly comment: string | null;
}

export interface TableOf {
  readonly schema: string;
  readonly name: string;
  readonly comment: string | null;
  /** Those that are published, in the order of the table. */
  readonly columns: readonly ColumnOf[];
}

export interface TypeOf {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: 'array' | 'domain' | 'enum' | 'composite' | 'other';
  /** What it is an array or a domain of. */
  readonly of: number;
  /** Of a domain: how many dimensions it adds, and whether it takes no NULL. */
  readonly dimensions: number;
  readonly notNull: boolean;
  /** Its owner says by a cast how it is written as JSON. */
  readonly asJson: boolean;
  readonly comment: string | null;
  readonly labels: readonly string[];
  readonly fields: readonly ColumnOf[];
}

export interface Published {
  readonly tables: readonly TableOf[];
  /** By their oids; of each, those that it is made of are there too. */
  readonly types: ReadonlyMap<number, TypeOf>;
}

const COLUMNS = `
  select coalesce(json_agg(json_build_object(
           'name', a.attname, 'type', a.atttypid::int8, 'dimensions', a.attndims, 'notNull', a.attnotnull,
           'comment', col_description(a.attrelid, a.attnum)) order by a.attnum), '[]')
    from pg_attribute a where a.attnum > 0 and not a.attisdropped`;

const TABLES = `
  select n.nspname as schema, c.relname as name, obj_description(c.oid, 'pg_class') as comment,
         (${COLUMNS} and a.attrelid = c.oid and a.attname = any (w.columns)) as columns
    from rowcast.watched w join pg_class c on c.oid = w."table" join pg_namespace n on n.oid = c.relnamespace`;

/** The kinds in the order in which to_jsonb asks for them. */
const TYPES = `
  select t.oid::int8::float8 as oid, n.nspname as schema, t.typname as name,
         case when t.typtype = 'd' then 'domain' when t.typcategory = 'A' and t.typelem <> 0 then 'array'
              when t.typtype = 'c' then 'composite' when t.typtype = 'e' then 'enum' else 'other' end as kind,
         (case when t.typtype = 'd' then t.typbasetype else t.typelem end)::int8::float8 as "of",
         t.typndims as dimensions, t.typnotnull as "notNull", obj_description(t.oid, 'pg_type') as comment,
         exists (select from pg_cast k where k.castsource = t.oid and k.casttarget = 'json'::regtype
                                         and k.castmethod = 'f' and t.oid >= 16384) as "asJson",
         array(select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder) as labels,
         case when t.typtype = 'c' then (${COLUMNS} and a.attrelid = t.typrelid) else '[]' end as fields
    from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.oid = any ($1::oid[])`;

export async function readPublished(client: pg.ClientBase): Promise<Published> {
  const { rows: tables } = await client.query<TableOf>(TABLES);
  const types = new Map<number, TypeOf>();
  let wanted = tables.flatMap(({ columns }) => columns.map(({ type }) => type));
  while (wanted.length > 0) {
    const { rows } = await client.query<TypeOf>(TYPES, [[...new Set(wanted)]]);
    for (const type of rows) types.set(type.oid, type);
    const inner = rows.flatMap(({ kind, of, fields }) => [
      ...(kind === 'array' || kind === 'domain' ? [of] : []),
      ...fields.map(({ type }) => type),
    ]);
    wanted = inner.filter((oid) => !types.has(oid));
  }
  return { tables, types };
}
