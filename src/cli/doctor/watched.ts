/** The doctor's checks of the watched tables: their triggers, their keys, and whether snapshots can be made of them. */
import type pg from 'pg';
import { alterations } from '../../postgres/altered.ts';
import { keyFaults } from '../../postgres/keys.ts';
import { lackOfTables } from '../../postgres/rights.ts';
import type { Found } from './finding.ts';

/** A call that makes the triggers and the record of the table anew, and leaves the settings as they are. */
const AGAIN = `format('select rowcast.watch(%L, columns => %L, key => %L, access => %L, scope => %L)', w."table"::text,
                case when not w.all_columns then array_remove(w.columns, null) end, array_remove(w.key, null), w.access, w.scope)`;

/**
 * Tables whose triggers are not all there, with what is lost. A child table that inherits has none of its own until
 * watch is called again; a partition has all but the one that sees a TRUNCATE of it alone.
 */
const BROKEN = `
  with recursive down (root, part) as (
    select w."table"::oid, i.inhrelid from rowcast.watched w join pg_inherits i on i.inhparent = w."table"
    union select d.root, i.inhrelid from down d join pg_inherits i on i.inhparent = d.part),
  has (relation, name) as (
    select tgrelid, tgname from pg_trigger where tgenabled in ('O', 'A')),
  bare as (
    select d.root, d.part, c.relispartition as partition from down d join pg_class c on c.oid = d.part
     where case when c.relispartition then c.relkind = 'r' and (d.part, 'rowcast_part_truncate'::name) not in (select relation, name from has)
                else (d.part, '!rowcast_row'::name) not in (select relation, name from has) end)
  select w."table"::text as "table", w.capturing is true as captured,
         array(select b.part::regclass::text from bare b where b.root = w."table" and not b.partition order by 1) as children,
         array(select b.part::regclass::text from bare b where b.root = w."table" and b.partition order by 1) as partitions,
         ${AGAIN} as again
    from rowcast.watched w
   where w.capturing is not true or exists (select from bare b where b.root = w."table") order by 1`;

interface Broken {
  table: string;
  captured: boolean;
  children: string[];
  partitions: string[];
  again: string;
}

export async function checkTriggers(client: pg.Client): Promise<Found> {
  const { rows } = await client.query<Broken>(BROKEN);
  const faults = rows.filter(({ captured, children }) => !captured || children.length > 0);
  const missing = faults.filter(({ captured }) => !captured).map(({ table }) => table);
  const children = faults.filter(({ captured }) => captured).flatMap((row) => row.children);
  const partitions = rows.flatMap((row) => (row.captured ? row.partitions : []));
  const words = [
    ...(missing.length > 0
      ? [`missing or disabled on ${missing.join(', ')}: changes there are lost`]
      : ['in place and enabled on all watched tables']),
    ...(children.length > 0
      ? [`missing on ${children.join(', ')}, which inherit since: what is written there directly is lost`]
      : []),
    ...(partitions.length > 0
      ? [`a TRUNCATE of ${partitions.join(', ')} alone would not be seen, until watch is called again`]
      : []),
  ];
  const [first = '', ...others] = missing.length > 0 || children.length === 0 ? words : words.slice(1);
  const found = [first, ...others].join('; ');
  return faults.length === 0
    ? { found }
    : { found, remedy: `run: ${faults.map(({ again }) => again).join('; ')}` };
}

const WATCH_AGAIN = `select w."table"::text as "table", ${AGAIN} as again from rowcast.watched w order by 1`;

export async function checkAlterations(client: pg.Client): Promise<Found> {
  const all = await alterations(client);
  if (all.length === 0) return { found: 'none since watch was called' };
  const found = all.map(({ table, found: what }) => `${table}: ${what}`).join('; ');
  const altered = new Set(all.filter(({ breaking }) => breaking).map(({ table }) => table));
  if (altered.size === 0) return { found };
  const { rows } = await client.query<{ table: string; again: string }>(WATCH_AGAIN);
  const calls = rows.filter(({ table }) => altered.has(table)).map(({ again }) => again);
  return { found, remedy: `if clients know of that, run: ${calls.join('; ')}` };
}

export async function checkKeys(client: pg.Client): Promise<Found> {
  const faults = await keyFaults(client);
  if (faults.length === 0) return { found: 'of all watched tables, they are there, unique and not null' };
  return {
    found: faults.map(({ table, found }) => `${table}: ${found}`).join('; '),
    remedy: `run: ${faults.map(({ remedy }) => remedy).join('; ')}`,
  };
}

export async function checkSnapshots(client: pg.Client): Promise<Found> {
  const lack = await lackOfTables(client);
  if (lack === null) return { found: 'all watched tables can be read' };
  return {
    found: `the role ${lack.role} may not ${lack.lacking.join(', nor ')}, so snapshots of it fail`,
    remedy: lack.remedy,
  };
}
