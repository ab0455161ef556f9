/**
 * The migrations: which there are, which were applied, and applying the others.
 *
 * Each file of `migrations/` runs by itself: it opens its transaction, takes the lock that makes several at once
 * take turns, and records itself. So it is the same whether `psql -f` or this applies it.
 */
import { access, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { commandLine } from '../command.ts';
import type { Observe } from '../observation.ts';
import { StartError } from '../start-error.ts';
import { refusal } from './connect.ts';

const FIRST = '001_schema.sql';
const NUMBERED = /^\d{3}_.+\.sql$/;

/**
 * Applies what is not recorded yet, in order; gives the names of what it applied. Several instances may do it at
 * once. Throws a `StartError` that names the file and has PostgreSQL's words and hint.
 */
export async function applyMigrations(
  client: pg.ClientBase,
  { observe }: { observe: Observe },
): Promise<string[]> {
  const missing = await missingMigrations(client);
  for (const name of missing) {
    await applyFile(client, `${name}.sql`);
    observe({ type: 'migration.applied', name });
  }
  return missing;
}

/** The migrations that are not recorded as applied, in order. Rejects with PostgreSQL's error. */
export async function missingMigrations(client: pg.ClientBase): Promise<string[]> {
  const files = (await readdir(await migrationsFolder())).filter((file) => NUMBERED.test(file)).sort();
  const names = files.map((file) => file.replace(/\.sql$/, ''));
  const { rows } = await client.query<{ exists: boolean }>(
    `select to_regclass('rowcast.migration') is not null as exists`,
  );
  if (!rows[0]?.exists) return names;
  const recorded = await client.query<{ name: string }>('select name from rowcast.migration');
  const applied = new Set(recorded.rows.map(({ name }) => name));
  return names.filter((name) => !applied.has(name));
}

/** Throws a `StartError` that says what to run where the database lacks a migration. */
export async function requireMigrations(client: pg.ClientBase): Promise<void> {
  const missing = await missingMigrations(client);
  if (missing.length === 0) return;
  throw new StartError(
    `the database lacks the migrations ${missing.join(', ')}; run: ${commandLine('migrate')}`,
  );
}

/** Runs one file, named by its path within `migrations/`. Throws a `StartError` that names it. */
export async function applyFile(client: pg.ClientBase, file: string): Promise<void> {
  const sql = await readFile(join(await migrationsFolder(), file), 'utf8');
  try {
    await client.query(sql);
  } catch (error) {
    // The transaction that the file opened; without one this only warns. A broken connection says nothing new.
    await client.query('rollback').catch(() => undefined);
    throw new StartError(`migrations/${file}: ${refusal(error)}`, { cause: error });
  }
}

/** `migrations/` of the package, above wherever this file was compiled to. */
async function migrationsFolder(): Promise<string> {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    const folder = join(at, 'migrations');
    const found = await access(join(folder, FIRST)).then(
      () => true,
      () => false,
    );
    if (found) return folder;
    if (at === dirname(at))
      throw new Error(`migrations/${FIRST} is missing from the package: install it again`);
  }
}
