/** `rowcast watch` and `rowcast unwatch`: which tables' changes are published. */
import type pg from 'pg';
import { withConnection } from '../postgres/connect.ts';
import { missingMigrations } from '../postgres/migrate.ts';
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
  await withTable(context, table, async (client) => {
    await client.query('select rowcast.watch($1::regclass, $2, $3, $4, $5)', [
      table,
      names(options.columns),
      names(options.key),
      access,
      scope,
    ]);
  });
  context.print(`${table} is watched; its changes may be read by: ${access}`);
}

/** Publishes a table no longer. Throws a `ConfigError` or a `StartError`. */
export async function unwatch(table: string, context: Context): Promise<void> {
  await withTable(context, table, async (client) => {
    await client.query('select rowcast.unwatch($1::regclass)', [table]);
  });
  context.print(`${table} is watched no longer`);
}

async function withTable(
  context: Context,
  table: string,
  work: (client: pg.Client) => Promise<void>,
): Promise<void> {
  const { config, connection } = readContext(context);
  await withConnection(config.databaseUrl, connection, async (client) => {
    await requireMigrations(client);
    if (table.trim() === '') throw new StartError('the table has no name');
    await work(client);
  });
}

/** Throws a `StartError` that says what to run where the database lacks a migration. */
export async function requireMigrations(client: pg.Client): Promise<void> {
  const missing = await missingMigrations(client);
  if (missing.length === 0) return;
  throw new StartError(`the database lacks the migrations ${missing.join(', ')}; run: rowcast migrate`);
}

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
