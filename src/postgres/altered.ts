/** What was altered of watched tables since `rowcast.watch` was called for them, and what that means for subscribers. */
import type pg from 'pg';

export interface Alteration {
  readonly table: string;
  /** In words, with what follows from it. A dropped column of a key is not among them: writes fail then. */
  readonly found: string;
  /** It changes what subscribers get of a column or name that they knew. */
  readonly breaking: boolean;
}

type Column = [number: number, name: string, type: string];

interface Row {
  table: string;
  /** The columns that are published now by name, null where all are. */
  published: string[] | null;
  /** After a dump and restore columns have other numbers. */
  numbersHold: boolean;
  before: { table: string; columns: Column[] };
  now: { table: string; columns: Column[] };
}

const SHAPES = `
  select w."table"::text as "table", case when not w.all_columns then w.columns end as published,
         r.numbered = r.relation as "numbersHold", r.shape as before, rowcast.table_shape(r.relation) as now
    from rowcast.watched w join rowcast.relation r on r.relation = w."table"
   where r.shape is distinct from rowcast.table_shape(r.relation) and r.shape is not null
     and array_position(w.key, null) is null order by 1`;

const WAS_PUBLISHED = `select r.relation::regclass::text as "table", r.columns from rowcast.relation r`;

/** The alterations, by table. */
export async function alterations(client: pg.ClientBase): Promise<Alteration[]> {
  const { rows } = await client.query<Row>(SHAPES);
  const listed = await client.query<{ table: string; columns: string[] | null }>(WAS_PUBLISHED);
  const named = new Map(listed.rows.map(({ table, columns }) => [table, columns]));
  return rows.flatMap((row) => alterationsOf(row, named.get(row.table) ?? null));
}

/** `named`: the columns that `watch` was told to publish, by the names that they had then. */
function alterationsOf(
  { table, published, numbersHold, before, now }: Row,
  named: string[] | null,
): Alteration[] {
  const found: Alteration[] = [];
  const add = (what: string, breaking = true) => void found.push({ table, found: what, breaking });
  if (before.table !== now.table)
    add(`it was ${before.table}: subscriptions to that name have ended, and topics are under the new one`);
  const known = new Set<Column>();
  for (const [number, name, type] of before.columns) {
    if (named !== null && !named.includes(name)) continue;
    const same = now.columns.find((column) => (numbersHold ? column[0] === number : column[1] === name));
    if (same === undefined) {
      add(`column ${name} was dropped: rows come without it, and filters on it have ended`);
      continue;
    }
    known.add(same);
    const [, nowNamed, nowTyped] = same;
    if (nowNamed !== name)
      add(`column ${name} is called ${nowNamed} now: rows and filters have it by that name alone`);
    if (nowTyped !== type)
      add(
        `column ${nowNamed} was ${type} and is ${nowTyped}: values come as that, and filters on it have ended`,
      );
  }
  if (published !== null) return found;
  const numbers = new Set(before.columns.map(([number]) => number));
  const names = new Set(before.columns.map(([, name]) => name));
  for (const column of now.columns) {
    if (known.has(column) || (numbersHold ? numbers.has(column[0]) : names.has(column[1]))) continue;
    add(`column ${column[1]} was added: it is published, as all are`, false);
  }
  return found;
}
