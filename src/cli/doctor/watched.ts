/** The doctor's checks of the watched tables: their triggers, their keys, and whether snapshots can be made of them. */
import type pg from 'pg';
import { keyFaults } from '../../postgres/keys.ts';
import { lackOfTables } from '../../postgres/rights.ts';
import type { Found } from './finding.ts';

/** A call that makes the triggers anew and leaves the settings as they are. */
const BROKEN = `
  select "table"::text as "table",
         format('select rowcast.watch(%L, columns => %L, key => %L, access => %L, scope => %L)', "table"::text,
                case when not all_columns then array_remove(columns, null) end, array_remove(key, null), access, scope) as again
    from rowcast.watched where capturing is not true order by 1`;

export async function checkTriggers(client: pg.Client): Promise<Found> {
  const { rows } = await client.query<{ table: string; again: string }>(BROKEN);
  if (rows.length === 0) return { found: 'in place and enabled on all watched tables' };
  return {
    found: `missing or disabled on ${rows.map(({ table }) => table).join(', ')}: changes there are lost`,
    remedy: `run: ${rows.map(({ again }) => again).join('; ')}`,
  };
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
