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
const TEXT = /^(text|character varying|character|citext|name)\b/;

/** A condition on `alias`, empty where there are no filters, and its parameters, counted from 1. */
export function whereOf(
  table: WatchedTable,
  filters: readonly Filter[],
  alias: string,
): { text: string; values: unknown[] } {
  const values: unknown[] = [];
  const conditions = filters.map((filter) => {
    const type = table.columns.get(filter.column)?.type ?? 'text';
    const collate = TEXT.test(type) ? ' collate "C"' : '';
    const column = `${alias}.${pg.escapeIdentifier(filter.column)}`;
    // A length in the type would cut the literal.
    const bare = type.replace(/\(\d+(,-?\d+)?\)/, '');
    switch (filter.operator) {
      case 'is':
        return `${column} ${TRUTHS[filter.value]}`;
      case 'in':
        values.push([...filter.value]);
        return `${column} = any ($${values.length}::text[]::${bare}[])`;
      case 'like':
      case 'ilike':
        values.push(filter.value);
        return `${column} ${filter.operator} $${values.length}`;
      default:
        values.push(filter.value);
        return `${column}${collate} ${COMPARISONS[filter.operator]} $${values.length}::text::${bare}`;
    }
  });
  return { text: conditions.join(' and '), values };
}
