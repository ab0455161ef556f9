import { readdir } from 'node:fs/promises';
import type pg from 'pg';
export async function missingMigrations(client: pg.ClientBase): Promise<string[]> {
  const files = (await readdir(new URL('../../migrations', import.meta.url))).filter((f) => /^\d+_.*\.sql$/.test(f)).sort();
  const { rows } = await client.query<{ name: string }>(`select name from rowcast.migration`);
  const have = new Set(rows.map((r) => r.name));
  return files.map((f) => f.replace('.sql', '')).filter((f) => !have.has(f));
}
