/** What a client may ask of a snapshot: how many rows, and in which order. */
import type { WatchedTable } from '../postgres/catalog.ts';
import type { OrderTerm } from '../postgres/rows.ts';
import { ProtocolError, type SnapshotRequest } from '../protocol.ts';

export interface RowsOptions {
  /** The most rows of one snapshot. */
  readonly maxRows: number;
}

const TERM = /^(?<column>.+?)(?:\.(?<direction>asc|desc))?(?:\.(?<nulls>nullsfirst|nullslast))?$/;
const MAX_TERMS = 8;

/** What to say of a snapshot that has too many rows. */
export function overRows({ maxRows }: RowsOptions): ProtocolError {
  return new ProtocolError(
    'limit_exceeded',
    `a snapshot has at most ${maxRows} rows; add filters or a limit`,
  );
}

/**
 * Reads `column[.asc|.desc][.nullsfirst|.nullslast],…`. Throws `bad_frame` for what it cannot read and for columns
 * that are not there, `limit_exceeded` past the most rows.
 */
export function parseOrder(
  { limit, order }: SnapshotRequest,
  table: WatchedTable,
  { maxRows }: RowsOptions,
): { limit: number; order: OrderTerm[] } {
  if (limit !== undefined && limit > maxRows) {
    throw overRows({ maxRows });
  }
  const terms = order === undefined ? [] : order.split(',');
  if (terms.length > MAX_TERMS) throw badOrder(`it has ${terms.length} columns; the limit is ${MAX_TERMS}`);
  return { limit: limit ?? maxRows + 1, order: terms.map((term) => parseTerm(term, table)) };
}

function parseTerm(term: string, table: WatchedTable): OrderTerm {
  const { column = '', direction, nulls } = TERM.exec(term)?.groups ?? {};
  const name = decode(column);
  if (!table.columns.has(name)) {
    throw badOrder(`${JSON.stringify(name)} is no column of ${table.table}`);
  }
  return {
    column: name,
    descending: direction === 'desc',
    nulls: nulls === undefined ? null : nulls === 'nullsfirst' ? 'first' : 'last',
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw badOrder(`${JSON.stringify(text)} holds a stray %`, cause);
  }
}

function badOrder(what: string, cause?: unknown): ProtocolError {
  return new ProtocolError(
    'bad_frame',
    `the order cannot be used: ${what}; write column.desc,other.asc.nullslast`,
    {
      cause,
    },
  );
}
