/**
 * Filters: conditions on a table's columns, as PostgREST writes them.
 *
 * It promises normal forms: equal sets of filters, however spelled, become equal
 * arrays, and their spelling reads back as the same array.
 */
import { badTopic, compare, cut, decode, encode, parseName, RESERVED, shown } from './text.ts';

export const SCALAR_OPERATORS = ['eq', 'neq', 'gt', 'gte', 'lt', 'lte', 'like', 'ilike'] as const;
export type ScalarOperator = (typeof SCALAR_OPERATORS)[number];

export const IS_VALUES = ['null', 'not_null', 'true', 'false', 'unknown'] as const;
export type IsValue = (typeof IS_VALUES)[number];

/** One condition on a column. Values are decoded: what they say, not how a topic spells them. */
export type Filter =
  | { readonly column: string; readonly operator: ScalarOperator; readonly value: string }
  | { readonly column: string; readonly operator: 'is'; readonly value: IsValue }
  | { readonly column: string; readonly operator: 'in'; readonly value: readonly string[] };

/** Reads `filter & filter …` into normal form. Throws `bad_topic` naming the filter by its number. */
export function parseFilters(text: string, maxFilters: number): readonly Filter[] {
  const parts = text.split('&');
  if (parts.length > maxFilters) {
    throw badTopic(`the topic has ${parts.length} filters; the limit is ${maxFilters}`);
  }
  return normalFilters(parts.map((part, index) => parseFilter(part, `filter ${index + 1}`)));
}

/** Sorted by column, operator and value, each once; the items of a list likewise. */
export function normalFilters(filters: readonly Filter[]): readonly Filter[] {
  const spelled = new Map(filters.map((filter) => [spellFilter(filter), filter]));
  const sorted = [...spelled].sort(
    ([a, { column, operator }], [b, other]) =>
      compare(column, other.column) || compare(operator, other.operator) || compare(a, b),
  );
  return sorted.map(([, filter]) =>
    filter.operator === 'in' ? { ...filter, value: normalList(filter.value) } : filter,
  );
}

/** The canonical spelling of one filter. */
export function spellFilter(filter: Filter): string {
  return `${encode(filter.column, RESERVED.name)}=${filter.operator}.${spellValue(filter)}`;
}

function spellValue(filter: Filter): string {
  switch (filter.operator) {
    case 'is':
      return filter.value;
    case 'in':
      return `(${normalList(filter.value).map(spellItem).join(',')})`;
    case 'like':
    case 'ilike':
      return encode(filter.value, RESERVED.pattern);
    default:
      return encode(filter.value, RESERVED.value);
  }
}

// The quotes keep a list of one empty item apart from a list of none.
function spellItem(item: string): string {
  return item === '' ? '""' : encode(item, RESERVED.item);
}

function normalList(items: readonly string[]): readonly string[] {
  return [...new Set(items)].sort(compare);
}

function parseFilter(text: string, where: string): Filter {
  const [name, condition] = cut(text, '=');
  const [operator, value] = cut(condition ?? '', '.');
  if (condition === undefined || value === undefined) {
    throw badTopic(`${where} ${shown(text)} is not column=operator.value, such as room_id=eq.7`);
  }
  const column = parseName(name, `the column of ${where}`);
  if (operator === 'in') return { column, operator, value: parseList(value, where) };
  if (operator === 'is') return { column, operator, value: parseIs(value, where) };
  const scalar = SCALAR_OPERATORS.find((known) => known === operator);
  if (scalar === undefined) {
    throw badTopic(
      `${where}: ${shown(operator)} is no operator; write ${SCALAR_OPERATORS.join(', ')}, in or is`,
    );
  }
  const isPattern = scalar === 'like' || scalar === 'ilike';
  return { column, operator: scalar, value: decode(isPattern ? value.replaceAll('*', '%25') : value, where) };
}

function parseIs(text: string, where: string): IsValue {
  const word = decode(text, where).toLowerCase();
  const value = IS_VALUES.find((known) => known === word);
  if (value === undefined) {
    throw badTopic(`${where}: ${shown(text)} cannot follow "is."; write one of ${IS_VALUES.join(', ')}`);
  }
  return value;
}

// One item, quoted (with \ before a quote or a backslash) or bare; then a comma or the end.
const LIST_ITEM = /(?:"((?:[^"\\]|\\.)*)"|([^,()"]*))(,|$)/suy;

function parseList(text: string, where: string): readonly string[] {
  if (text.length < 2 || !text.startsWith('(') || !text.endsWith(')')) {
    throw badTopic(`${where}: ${shown(text)} is no list; write in.(a,b)`);
  }
  const inner = text.slice(1, -1);
  const items: string[] = [];
  for (let at = 0, more = inner !== ''; more; at = LIST_ITEM.lastIndex) {
    LIST_ITEM.lastIndex = at;
    const match = LIST_ITEM.exec(inner);
    if (match === null) {
      const item = `item ${items.length + 1} of ${where}, at ${shown(inner.slice(at))},`;
      throw badTopic(
        `${item} holds a parenthesis or a quote; write it as %28, %29 or %22, or quote the item`,
      );
    }
    const [, quoted, bare = '', end] = match;
    items.push(decode(quoted?.replace(/\\(.)/gsu, '$1') ?? bare, where));
    more = end === ',';
  }
  return normalList(items);
}
