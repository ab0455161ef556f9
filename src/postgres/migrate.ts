/**
 * The migrations: which there are, which were applied, and applying the others.
 *
 * Each file of `migrations/` runs by itself: it opens its transaction, takes the lock that makes several at once
 * take turns, and records itself. So it is the same whether `psql -f` or this applies it. It may be applied again, and
 * is, with those after it, where the database holds another version of it.
 */
import type pg from 'pg';
import { commandLine } from '../command.ts';
import type { Observe } from '../observation.ts';
import { StartError } from '../start-error.ts';
import { refusal } from './connect.ts';
import { filesOtherwise, migrationFiles, readMigration, versionOf } from './migration-files.ts';

export interface MigrationState {
  /** Not recorded as applied, in order. */
  readonly missing: readonly string[];
  /** Applied in another version of the file, in order. */
  readonly altered: readonly string[];
  /** The version of rowcast that the database was brought to, where it is newer than this one. */
  readonly newer: string | null;
}

/**
 * Applies what is not recorded yet or was applied in another version, and what comes after it, in order; gives the
 * names of what it applied. What a newer rowcast applied stays. Several instances may do it at once. Throws a
 * `StartError` that names the file and has PostgreSQL's words and hint.
 */
export async function applyMigrations(
  client: pg.ClientBase,
  { observe }: { observe: Observe },
): Promise<string[]> {
  const { missing, altered, newer } = await migrationState(client);
  const names = (await migrationFiles()).map(({ name }) => name);
  const first = names.findIndex((name) => missing.includes(name) || altered.includes(name));
  const wanted = newer !== null ? [...missing] : first === -1 ? [] : names.slice(first);
  for (const name of wanted) {
    await applyFile(client, `${name}.sql`);
    observe({ type: 'migration.applied', name });
  }
  return wanted;
}

/** How the database stands to the files. Rejects with PostgreSQL's error. */
export async function migrationState(client: pg.ClientBase): Promise<MigrationState> {
  const files = await migrationFiles();
  const { rows } = await client.query<{ exists: boolean }>(
    `select to_regclass('rowcast.migration') is not null as exists`,
  );
  if (!rows[0]?.exists) return { missing: files.map(({ name }) => name), altered: [], newer: null };
  const recorded = await client.query<{ name: string }>('select name from rowcast.migration');
  const applied = new Set(recorded.rows.map(({ name }) => name));
  const there = files.filter(({ name }) => applied.has(name));
  // An early version has no such column.
  const brought = await client.query<{ version: string | null }>(
    `select to_jsonb(i) ->> 'version' as version from rowcast.install i`,
  );
  const version = brought.rows[0]?.version ?? null;
  const own = versionOf(files);
  const newer = version !== null && isNewer(version, own) ? version : null;
  const altered = new Set(await filesOtherwise(client, there));
  // It is the first that records the version.
  if (version !== own && newer === null) altered.add(files[0]?.name ?? '');
  return {
    missing: files.filter(({ name }) => !applied.has(name)).map(({ name }) => name),
    altered: there.map(({ name }) => name).filter((name) => altered.has(name)),
    newer,
  };
}

/** Throws a `StartError` that says what to run where the database lacks a migration. */
export async function requireMigrations(client: pg.ClientBase): Promise<void> {
  const { missing } = await migrationState(client);
  if (missing.length === 0) return;
  throw new StartError(
    `the database lacks the migrations ${missing.join(', ')}; run: ${commandLine('migrate')}`,
  );
}

/** What mends a log that came by a dump of another server. */
export const FOREIGN_REMEDY =
  'as the owner of schema rowcast, run: select rowcast.begin_anew(), after which all clients are told to reset';

/** Throws a `StartError` where the log came by a dump of another server: its commits would be handed on again and again. */
export async function requireOwnLog(client: pg.ClientBase): Promise<void> {
  if (!(await isForeign(client))) return;
  throw new StartError(
    `the log came by a dump of another server, with transactions that are not yet here; ${FOREIGN_REMEDY}`,
  );
}

/** Whether the log came by a dump of another server. An earlier version of the migrations does not tell. */
export async function isForeign(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ told: boolean }>(
    `select to_regprocedure('rowcast.is_foreign()') is not null as told`,
  );
  if (!rows[0]?.told) return false;
  const found = await client.query<{ foreign: boolean }>('select rowcast.is_foreign() as foreign');
  return found.rows[0]?.foreign ?? false;
}

/** Runs one file, named by its path within `migrations/`. Throws a `StartError` that names it. */
export async function applyFile(client: pg.ClientBase, file: string): Promise<void> {
  const sql = await readMigration(file);
  try {
    await client.query(sql);
  } catch (error) {
    // The transaction that the file opened; without one this only warns. A broken connection says nothing new.
    await client.query('rollback').catch(() => undefined);
    throw new StartError(`migrations/${file}: ${refusal(error)}`, { cause: error });
  }
}

/** Whether version `a` is newer than `b`. */
function isNewer(a: string, b: string): boolean {
  const [left, right] = [a, b].map((text) => text.split('.').map(Number));
  for (const [place, number] of (left ?? []).entries()) {
    const other = right?.[place] ?? 0;
    if (number !== other) return number > other;
  }
  return false;
}
