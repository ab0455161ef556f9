/**
 * Filters as SQL: the same rows that matching picks.
 *
 * Literals are parameters, cast to the column's type; names come from the catalog and are quoted. Text compares by C
 * order, as matching does.
 */
import pg from 'pg';
import type { Filter } from '../topic.ts';
import type { WatchedTable } from './catalog.ts';

const COMPARISONS: Readonly<Record<string, string>> = {
  eq: '=',
  neq: '<>',
  gt: '>',
  gte: '>=',
  lt: '<',
  lte: '<=',
};
const TRUTHS = {
  null: 'is null',
  not_null: 'is not null',
  true: 'is true',
  false: 'is false',
  unknown: 'is unknown',
} as const;

/** A condition on `alias`, empty where there are no filters, and its parameters, counted from 1. */
export function whereOf(
  table: WatchedTable,
  filters: readonly Filter[],
  alias: string,
): { text: string; values: unknown[] } {
  const values: unknown[] = [];
  const conditions = filters.map((filter) => {
    const type = table.columns.get(filter.column);
    if (type === undefined) throw new Error(`the column ${filter.column} was not looked up`);
    const name = `${alias}.${pg.escapeIdentifier(filter.column)}`;
    if (filter.operator === 'is') {
      // A JSON null is written as NULL is, and filters see what is written.
      const written = type.family === 'other' ? `nullif(pg_catalog.to_jsonb(${name}), 'null')` : name;
      return `${written} ${TRUTHS[filter.value]}`;
    }
    values.push(filter.operator === 'in' ? [...filter.value] : filter.value);
    const literal = `$${values.length}`;
    if (filter.operator === 'like' || filter.operator === 'ilike')
      return `${name} ${filter.operator} ${literal}`;
    const column = type.family === 'text' || type.family === 'char' ? `${name} collate "C"` : name;
    if (filter.operator === 'in') return `${column} = any (${literal}::text[]::${type.cast}[])`;
    return `${column} ${COMPARISONS[filter.operator]} ${literal}::text::${type.cast}`;
  });
  return { text: conditions.join(' and '), values };
}
