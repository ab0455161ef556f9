/**
 * The catalog: which tables are watched, and what their columns are.
 *
 * It is read whole, and again when somebody asks for a table that it does not know or the log says that settings
 * changed. Reads that are asked for at once are one.
 */
import type pg from 'pg';
import { type ColumnType, familyOf } from '../matching.ts';
import { type Observe, reasonOf } from '../observation.ts';
import { canonicalTopic, OPS } from '../topic.ts';

export interface Column extends ColumnType {
  readonly name: string;
}

export interface WatchedTable {
  /** Its oid. */
  readonly relation: number;
  /** As a canonical topic spells it. */
  readonly table: string;
  readonly schema: string;
  readonly name: string;
  /** The published columns. */
  readonly columns: ReadonlyMap<string, Column>;
  readonly key: readonly string[];
  readonly access: 'public' | 'authenticated' | 'scoped' | 'channel';
  readonly scope: Readonly<Record<string, string>> | null;
  /** The transaction since which it is watched. */
  readonly since: bigint;
}

export interface Catalog {
  /** Undefined when it is not watched. Rejects when the database cannot be asked. */
  find(schema: string, name: string): Promise<WatchedTable | undefined>;
  /** What was read last is not to be trusted any more. */
  invalidate(): void;
}

// An older PostgreSQL has not all the columns that say how a collation folds letters.
const TABLES = `
  with recursive base (oid, base) as (
    select oid, oid from pg_type where typtype <> 'd'
    union all
    select t.oid, b.base from base b join pg_type t on t.typtype = 'd' and t.typbasetype = b.oid),
  folding (oid, folds_ascii) as (
    select l.oid, case when l.collname = 'default'
                       then (select coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') in ('c', 'b')
                                and coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'datctype') in ('C', 'POSIX')
                               from pg_database d where d.datname = current_database())
                       else l.collprovider in ('c', 'b')
                            and coalesce(to_jsonb(l) ->> 'colllocale', l.collctype) in ('C', 'POSIX') end
      from pg_collation l)
  select c.oid::int8::float8 as relation, n.nspname as schema, c.relname as name, w.key, w.access, w.scope, w.since::text as since,
         (select json_agg(json_build_object(
                   'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                   'cast', format('%I.%I', tn.nspname, t.typname), 'isEnum', t.typtype = 'e',
                   'ownName', case when tn.nspname = 'pg_catalog' then t.typname end,
                   'labels', (select coalesce(json_agg(e.enumlabel order by e.enumsortorder), '[]')
                                from pg_enum e where e.enumtypid = t.oid),
                   'foldsAscii', coalesce(f.folds_ascii, false)) order by a.attnum)
            from pg_attribute a join base b on b.oid = a.atttypid join pg_type t on t.oid = b.base
            join pg_namespace tn on tn.oid = t.typnamespace left join folding f on f.oid = a.attcollation
           where a.attrelid = w."table" and a.attname = any (w.columns) and not a.attisdropped) as columns
    from rowcast.watched w join pg_class c on c.oid = w."table" join pg_namespace n on n.oid = c.relnamespace`;

/** An expression that has another value whenever a watched table has another name, other columns or other settings. */
export const TABLES_STATE = `
  select md5(string_agg(concat_ws(',', r.relation::oid, r.xmin, n.nspname, c.relname, a.attnum, a.attname, a.atttypid,
                                  a.atttypmod, a.attcollation, a.attisdropped), ';' order by r.relation::oid, a.attnum))
    from rowcast.relation r left join pg_class c on c.oid = r.relation left join pg_namespace n on n.oid = c.relnamespace
    left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0`;

interface ColumnRow extends Omit<ColumnType, 'family'> {
  name: string;
  isEnum: boolean;
  /** Of a type of PostgreSQL's own. */
  ownName: string | null;
}

interface Row {
  relation: number;
  schema: string;
  name: string;
  key: (string | null)[];
  access: WatchedTable['access'];
  scope: Record<string, string> | null;
  since: string;
  columns: ColumnRow[] | null;
}

/** Unknown tables are asked for by anyone: they make the catalog be read at most this often. */
const UNKNOWN_MS = 1000;

export interface CatalogOptions {
  pool: pg.Pool;
  observe: Observe;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
}

export function createCatalog({ pool, observe, now = () => performance.now() }: CatalogOptions): Catalog {
  let tables: ReadonlyMap<string, WatchedTable> | null = null;
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<ReadonlyMap<string, WatchedTable>> | null = null;

  async function readTables(): Promise<ReadonlyMap<string, WatchedTable>> {
    const begunAt = now();
    try {
      const { rows } = await pool.query<Row>(TABLES);
      const read = new Map(rows.map((row) => [keyOf(row.schema, row.name), tableOf(row)]));
      observe({ type: 'catalog.loaded', tables: read.size, durationMs: now() - begunAt });
      return read;
    } catch (error) {
      observe({ type: 'catalog.failed', error: reasonOf(error) });
      throw error;
    }
  }

  function load(): Promise<ReadonlyMap<string, WatchedTable>> {
    if (reading !== null) return reading;
    const begun = readTables();
    reading = begun;
    const done = () => {
      if (reading === begun) reading = null;
    };
    begun.then((read) => {
      // One that was begun before the catalog changed is of no use to those who come after.
      if (reading === begun) {
        tables = read;
        readAt = now();
      }
      done();
    }, done);
    return begun;
  }

  return {
    async find(schema, name) {
      const key = keyOf(schema, name);
      const known = tables?.get(key);
      if (known !== undefined) return known;
      if (tables !== null && now() - readAt < UNKNOWN_MS) return undefined;
      return (await load()).get(key);
    },
    invalidate() {
      tables = null;
      reading = null;
    },
  };
}

function keyOf(schema: string, table: string): string {
  return canonicalTopic({ kind: 'table', schema, table, ops: OPS, filters: [] });
}

function tableOf({ relation, schema, name, key, access, scope, since, columns }: Row): WatchedTable {
  return {
    relation,
    table: keyOf(schema, name),
    schema,
    name,
    columns: new Map((columns ?? []).map((column) => [column.name, columnOf(column)])),
    key: key.filter((column) => column !== null),
    access,
    scope,
    since: BigInt(since),
  };
}

function columnOf({ name, type, cast, labels, foldsAscii, ...base }: ColumnRow): Column {
  return { name, type, cast, family: familyOf(base), labels, foldsAscii };
}
