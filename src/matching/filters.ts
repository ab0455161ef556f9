/**
 * Filters as a client wrote them, and what they are to the database: each column looked up, each literal read by
 * PostgreSQL, the whole compiled.
 *
 * It promises that two spellings of one value become one topic, and that a column which is not published is answered
 * as one that is not there.
 */
import { ProtocolError } from '../protocol.ts';
import { badTopic, shown } from '../topic/text.ts';
import { canonicalTopic, type Filter, type TableTopic, type Topic, withFilters } from '../topic.ts';
import { compileMatcher, type Matcher } from './condition.ts';
import { type ColumnType, FAMILIES } from './family.ts';

export interface FiltersOptions {
  /** The literal as `to_jsonb` writes it, read as the type. Rejects with `bad_topic`, or `unavailable`. */
  cast(type: Pick<ColumnType, 'cast' | 'family'>, literal: string): Promise<string>;
  /** Whether a topic met changes that it cannot judge and must be subscribed to anew. */
  isStale(topic: Topic): boolean;
  /** The catalog is behind the database. */
  onStale(): void;
}

interface FilteredTable {
  readonly columns: ReadonlyMap<string, ColumnType>;
}

export interface Filtered {
  readonly parsed: TableTopic;
  readonly matcher: Matcher;
}

const TEXT = { cast: 'pg_catalog.text', family: 'text' } as const;

/** Gives what turns a topic's filters into their canonical form and a matcher; it rejects with `ProtocolError`. */
export function createFilters({
  cast,
  isStale,
  onStale,
}: FiltersOptions): (topic: TableTopic, table: FilteredTable) => Promise<Filtered> {
  async function literalOf(column: string, type: ColumnType, literal: string): Promise<string> {
    if (type.labels.includes(literal)) return literal;
    const text = await saying(column, cast(type, literal));
    if (type.family === 'enum') {
      // PostgreSQL knows a label that the catalog did not when it was read.
      onStale();
      throw new ProtocolError(
        'unavailable',
        `the type of ${column} has just changed; try again after a while`,
      );
    }
    const key = FAMILIES[type.family].keyOf(text);
    if (key === undefined)
      throw new Error(`${type.cast} gave ${shown(text)}, which its family does not know`);
    return key;
  }

  async function canonical(topic: TableTopic, filter: Filter, table: FilteredTable): Promise<Filter> {
    const type = table.columns.get(filter.column);
    if (type === undefined) {
      const name = canonicalTopic({ ...topic, ops: [], filters: [] });
      throw badTopic(
        `${name} has no column ${shown(filter.column)} here: it does not exist or is not published`,
      );
    }
    checkOperator(filter, type);
    switch (filter.operator) {
      case 'is':
        return filter;
      case 'in': {
        const value = filter.value.map((item) => literalOf(filter.column, type, item));
        return { ...filter, value: await Promise.all(value) };
      }
      case 'like':
      case 'ilike':
        return { ...filter, value: await saying(filter.column, cast(TEXT, filter.value)) };
      default:
        return { ...filter, value: await literalOf(filter.column, type, filter.value) };
    }
  }

  return async (topic, table) => {
    const filters = await Promise.all(topic.filters.map((filter) => canonical(topic, filter, table)));
    const parsed = withFilters(topic, filters);
    const name = canonicalTopic(parsed);
    if (isStale(name)) throw staleTopic(name);
    return { parsed, matcher: compileMatcher(parsed.filters, table.columns) };
  };
}

/** The error that ends the topics whose columns are no longer what they were. */
export function staleTopic(name: string): ProtocolError {
  return badTopic(`the columns of ${name} are not what they were; subscribe again`);
}

function checkOperator({ column, operator, value }: Filter, { type, family }: ColumnType): void {
  const { operators } = FAMILIES[family];
  if (!operators.includes(operator)) {
    const allowed = operators.length === 1 ? 'is.null and is.not_null alone' : operators.join(', ');
    throw badTopic(`${operator} does not go with ${column}, which is ${type}; it takes ${allowed}`);
  }
  const isTruth = operator === 'is' && value !== 'null' && value !== 'not_null';
  if (isTruth && family !== 'boolean') {
    throw badTopic(
      `is.${value} goes with boolean columns; ${column} is ${type}: write is.null or is.not_null`,
    );
  }
}

/** The same, its `bad_topic` saying which column it is about. */
async function saying(column: string, cast: Promise<string>): Promise<string> {
  try {
    return await cast;
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'bad_topic') {
      throw badTopic(`the filter on ${column}: ${error.message}`, error);
    }
    throw error;
  }
}
