/**
 * The files of `migrations/`: which there are, and how to tell from a database whether it holds what they make.
 *
 * A file may be applied by `psql` or by a tool, which leave no checksum behind. So what it makes is looked for itself:
 * the functions by their bodies, and the other objects by their comments.
 */
import { access, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';

const FIRST = '001_schema.sql';
const NUMBERED = /^\d{3}_.+\.sql$/;

export interface MigrationFile {
  /** Without `.sql`, as it is recorded. */
  readonly name: string;
  readonly text: string;
}

/** Those that make up rowcast, in order. */
export async function migrationFiles(): Promise<MigrationFile[]> {
  const folder = await migrationsFolder();
  const files = (await readdir(folder)).filter((file) => NUMBERED.test(file)).sort();
  return Promise.all(
    files.map(async (file) => ({
      name: file.replace(/\.sql$/, ''),
      text: await readFile(join(folder, file), 'utf8'),
    })),
  );
}

/** The text of one file, named by its path within `migrations/`. */
export async function readMigration(file: string): Promise<string> {
  return readFile(join(await migrationsFolder(), file), 'utf8');
}

/** The version of rowcast that the files are of, as the first of them records it. */
export function versionOf([first]: readonly MigrationFile[]): string {
  const [, version] = /^update rowcast\.install set version = '([\d.]+)'/m.exec(first?.text ?? '') ?? [];
  if (version === undefined)
    throw new Error(`migrations/${FIRST} records no version: install the package again`);
  return version;
}

const FUNCTION = /^create or replace function rowcast\.(\w+)\([\s\S]*?\bas \$\$([\s\S]*?)\$\$;$/gm;
const COMMENT = /^comment on [^;]*? is\s+'((?:[^']|'')*)';$/gm;

/** What the file makes, as the database tells of it. */
function madeBy({ text }: MigrationFile): string[] {
  return [
    ...Array.from(text.matchAll(FUNCTION), ([, name, body]) => `${name} ${body}`),
    ...Array.from(text.matchAll(COMMENT), ([, comment = '']) => comment.replaceAll("''", "'")),
  ];
}

const MADE = `
  select concat(proname, ' ', prosrc) as made from pg_proc where pronamespace = 'rowcast'::regnamespace
  union all
  select d.description from pg_description d
   where (d.classoid = 'pg_namespace'::regclass and d.objoid = 'rowcast'::regnamespace)
      or (d.classoid = 'pg_class'::regclass and d.objoid in (select oid from pg_class where relnamespace = 'rowcast'::regnamespace))
      or (d.classoid = 'pg_proc'::regclass and d.objoid in (select oid from pg_proc where pronamespace = 'rowcast'::regnamespace))`;

/** Those whose functions and comments are not those of the database, which has the schema. */
export async function filesOtherwise(
  client: pg.ClientBase,
  files: readonly MigrationFile[],
): Promise<string[]> {
  const { rows } = await client.query<{ made: string }>(MADE);
  const there = new Set(rows.map(({ made }) => made));
  return files.filter((file) => !madeBy(file).every((made) => there.has(made))).map(({ name }) => name);
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
