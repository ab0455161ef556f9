/**
 * Rows of a table as of a moment: what a snapshot is made of.
 *
 * The rows and the moment are of one REPEATABLE READ transaction. It promises to hold a page of rows in memory, not
 * more, and to write values as capture does.
 */
import pg from 'pg';
import type { Snapshot } from '../position.ts';
import type { Filter } from '../topic.ts';
import type { WatchedTable } from './catalog.ts';
import { momentOf } from './moment.ts';
import { inTransaction } from './transaction.ts';
import { whereOf } from './where.ts';

/** By which columns rows are ordered. */
export interface OrderTerm {
  readonly column: string;
  readonly descending: boolean;
  readonly nulls: 'first' | 'last' | null;
}

export interface RowsRequest {
  readonly table: WatchedTable;
  readonly filters: readonly Filter[];
  /** The key is what decides among equals. */
  readonly order: readonly OrderTerm[];
  readonly limit: number;
}

/** The moment that rows are of. */
export interface Moment {
  readonly snapshot: Snapshot;
  readonly stream: string;
}

export interface RowReader {
  /**
   * Hands on the matching rows, as JSON texts, page after page; goes on when the page was taken. Resolves with their
   * moment, or with null and no row where the name belongs to another table by now. Rejects with the database's error.
   */
  read(request: RowsRequest, onPage: (rows: readonly string[]) => Promise<void>): Promise<Moment | null>;
}

const PAGE_ROWS = 500;
/** Settings that change how values are written, as capture has them. */
const SETTINGS = `begin isolation level repeatable read read only;
  set local timezone = 'UTC'; set local intervalstyle = 'postgres'; set local bytea_output = 'hex';
  set local extra_float_digits = 1; set local datestyle = 'ISO, MDY'; set local lc_monetary = 'C';
  set local search_path = pg_catalog, pg_temp`;

const SAME = 'select coalesce(to_regclass($1) = $2::oid, false) as same';

function nameOf({ schema, name }: WatchedTable): string {
  return `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(name)}`;
}

/** Reads with connections of a pool, one for each read while it lasts. */
export function createRowReader(pool: pg.Pool, statementTimeoutMs: number): RowReader {
  const begin = `${SETTINGS}; set local statement_timeout = ${Math.floor(statementTimeoutMs)}`;
  return {
    read: (request, onPage) => {
      const name = nameOf(request.table);
      // Locked before the moment is taken: a table that is truncated or rewritten after it has no rows of then.
      const locked = `${begin}; lock table ${name} in access share mode`;
      return inTransaction(pool, async (client) => {
        await client.query(locked);
        const { snapshot, stream } = await momentOf(client);
        const { rows } = await client.query<{ same: boolean }>(SAME, [name, request.table.relation]);
        if (!rows[0]?.same) return null;
        const { text, values } = selectOf(request);
        await client.query(`declare wanted no scroll cursor for ${text}`, values);
        for (;;) {
          const page = await client.query<{ row: string }>(`fetch ${PAGE_ROWS} from wanted`);
          if (page.rows.length > 0) await onPage(page.rows.map(({ row: json }) => json));
          if (page.rows.length < PAGE_ROWS) break;
        }
        return { snapshot, stream };
      });
    },
  };
}

function selectOf({ table, filters, order, limit }: RowsRequest): { text: string; values: unknown[] } {
  const quote = pg.escapeIdentifier;
  const columns = [...table.columns.keys()].map((column) => `t.${quote(column)}`).join(', ');
  const { text: where, values } = whereOf(table, filters, 't');
  const ordered = [...order, ...table.key.map((column) => ({ column, descending: false, nulls: null }))].map(
    ({ column, descending, nulls }) =>
      `t.${quote(column)}${descending ? ' desc' : ''}${nulls === null ? '' : ` nulls ${nulls}`}`,
  );
  return {
    text: `select to_jsonb(r)::text as row from (
        select ${columns} from ${nameOf(table)} t
         ${where === '' ? '' : `where ${where}`} order by ${ordered.join(', ')} limit ${limit}) r`,
    values,
  };
}
