/** `rowcast watch` and `rowcast unwatch`: which tables' changes are published. */
import pg from 'pg';
import { reasonOf } from '../observation.ts';
import { withConnection } from '../postgres/connect.ts';
import { requireMigrations } from '../postgres/migrate.ts';
import { asOwner } from '../postgres/rights.ts';
import { StartError } from '../start-error.ts';
import { type Context, readContext } from './context.ts';

export interface WatchOptions {
  /** Names parted by commas. */
  columns?: string;
  key?: string;
  access?: string;
  /** JSON: columns bound to claims. */
  scope?: string;
}

/** Publishes a table, named as SQL names it, or changes its settings. Throws a `ConfigError` or a `StartError`. */
export async function watch(table: string, options: WatchOptions, context: Context): Promise<void> {
  const scope = readScope(options.scope);
  const access = options.access ?? (scope === null ? 'authenticated' : 'scoped');
  await withTable(context, table, 'select rowcast.watch($1::oid::regclass, $2, $3, $4, $5)', [
    names(options.columns),
    names(options.key),
    access,
    scope,
  ]);
  context.print(`${table} is watched; its changes may be read by: ${access}`);
}

/** Publishes a table no longer. Throws a `ConfigError` or a `StartError`. */
export async function unwatch(table: string, context: Context): Promise<void> {
  await withTable(context, table, 'select rowcast.unwatch($1::oid::regclass)', []);
  context.print(`${table} is watched no longer`);
}

/** Runs the statement with the table's oid and the other parameters, and prints what PostgreSQL warns of. */
async function withTable(
  context: Context,
  table: string,
  statement: string,
  parameters: readonly unknown[],
): Promise<void> {
  const { config, connection } = readContext(context);
  await withConnection(config.databaseUrl, connection, async (client) => {
    client.on('notice', ({ severity = 'NOTICE', message = '', hint }) => {
      const words = message.replace(/^rowcast\.\w+: /, '');
      context.print(`${severity.toLowerCase()}: ${words}${hint ? ` (${hint})` : ''}`);
    });
    const oid = await asOwner(client, () => findTable(client, table));
    await asOwner(client, () => requireMigrations(client), oid);
    if (oid === null) throw new StartError(`there is no table ${table}; ${await meantBy(client, table)}`);
    await asOwner(client, () => client.query(statement, [oid, ...parameters]), oid);
  });
}

/** PostgreSQL's complaints about what is no name. */
const NO_NAME = new Set(['42601', '42602', '0A000', '22023']);

/** The oid of a table; null where there is none. Throws a `StartError` where that is no name. */
async function findTable(client: pg.Client, table: string): Promise<string | null> {
  if (table.trim() === '') throw new StartError(`the table has no name; ${AS_SQL}`);
  const named = client.query<{ oid: string | null }>('select to_regclass($1)::oid as oid', [table]);
  const { rows } = await named.catch((cause: unknown) => {
    if (!(cause instanceof pg.DatabaseError && NO_NAME.has(cause.code ?? ''))) throw cause;
    throw new StartError(`${table} is no name of a table (${reasonOf(cause)}); ${AS_SQL}`, { cause });
  });
  return rows[0]?.oid ?? null;
}

/** How to name the table that somebody had in mind. */
async function meantBy(client: pg.Client, table: string): Promise<string> {
  const { rows } = await client.query<{ name: string }>(ALIKE, [table]);
  return rows.length === 0 ? AS_SQL : `did you mean ${rows.map(({ name }) => name).join(' or ')}?`;
}

const AS_SQL = `name it as SQL does: orders, shop.orders, '"Odd Name"'`;

/** Tables of that name, in any schema and in any case of letters. */
const ALIKE = `
  select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where c.relkind in ('r', 'p') and n.nspname !~ '^pg_|^information_schema$'
     and lower(c.relname) = lower(regexp_replace(replace($1, '"', ''), '^.*\\.', '')) order by 1 limit 3`;

function names(list: string | undefined): string[] | null {
  return list === undefined ? null : list.split(',').map((name) => name.trim());
}

function readScope(text: string | undefined): string | null {
  if (text === undefined) return null;
  try {
    JSON.parse(text);
    return text;
  } catch (cause) {
    throw new StartError(`--scope is no JSON: write it like '{"customer_id":"sub"}'`, { cause });
  }
}
