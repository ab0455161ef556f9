/** `rowcast types`: TypeScript's types of the rows of the watched tables. */
import { readFile, writeFile } from 'node:fs/promises';
import { commandLine } from '../command.ts';
import { reasonOf } from '../observation.ts';
import { withConnection } from '../postgres/connect.ts';
import { requireMigrations } from '../postgres/migrate.ts';
import { requireRights } from '../postgres/rights.ts';
import { StartError } from '../start-error.ts';
import { type Context, readContext } from './context.ts';
import { readPublished } from './types/catalog.ts';
import { NUMBERS, type Numbers, renderTypes } from './types/render.ts';

export interface TypesOptions {
  /** The file to write; standard output where it is left out. */
  out?: string;
  numbers?: string;
  /** Writes nothing: says whether the file is as it would be written. */
  check?: boolean;
}

/** Writes the types, or checks them. Throws a `ConfigError`, or a `StartError`: also where the file is not up to date. */
export async function types({ out, numbers, check = false }: TypesOptions, context: Context): Promise<void> {
  const kind = readNumbers(numbers);
  if (check && out === undefined) throw new StartError('--check needs --out: the file to check');
  const { config, connection } = readContext(context);
  const text = await withConnection(config.databaseUrl, connection, async (client) => {
    await requireRights(client);
    await requireMigrations(client);
    return renderTypes(await readPublished(client), kind);
  });
  if (out === undefined) return context.print(text.trimEnd());
  if (!check) return write(out, text);
  if ((await readOrNothing(out))?.replaceAll('\r\n', '\n') === text) return;
  const again = commandLine(`types${kind === 'double' ? '' : ` --numbers ${kind}`} --out ${out}`);
  throw new StartError(`${out} is not up to date; run: ${again}`);
}

function readNumbers(text = 'double'): Numbers {
  const kind = NUMBERS.find((one) => one === text);
  if (kind !== undefined) return kind;
  throw new StartError(`--numbers must be ${NUMBERS.join(' or ')}; it is ${JSON.stringify(text)}`);
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (cause) {
    throw new StartError(`cannot write ${file}: ${reasonOf(cause)}`, { cause });
  }
}

/** Undefined where there is no such file. */
async function readOrNothing(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new StartError(`cannot read ${file}: ${reasonOf(cause)}`, { cause });
  }
}
