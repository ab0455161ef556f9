/** Applies the migrations the way `psql -f` would: each file as one text, in order of name. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';

/** Applies all of `migrations/` to the database. */
export async function applyMigrations(url: string): Promise<void> {
  const folder = join(process.cwd(), 'migrations');
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.sql')).sort();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const name of names) {
      await client.query(await readFile(join(folder, name), 'utf8')).catch((cause: Error) => {
        throw new Error(`migrations/${name}: ${cause.message}`, { cause });
      });
    }
  } finally {
    await client.end();
  }
}
