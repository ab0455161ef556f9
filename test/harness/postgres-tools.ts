/** PostgreSQL's own programs as Debian installs them: `psql`, `pg_dump` and a server of the same version beside them. */
import { execFile } from 'node:child_process';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Binaries } from '../../src/dev/binaries.ts';

export interface Tools {
  /** Where they all are. */
  readonly folder: string;
  readonly server: Binaries;
}

const SCRIPT_MS = 50_000;
const PLACE = '/usr/lib/postgresql';
const NEEDED = ['psql', 'pg_dump', 'pg_restore', 'initdb', 'postgres'];

/** The newest that are there whole; undefined where none are. */
export async function findTools(): Promise<Tools | undefined> {
  const majors = (await readdir(PLACE).catch(() => [])).map(Number).sort((a, b) => b - a);
  for (const major of majors) {
    const folder = join(PLACE, String(major), 'bin');
    const whole = await Promise.all(NEEDED.map((name) => access(join(folder, name)))).then(
      () => true,
      () => false,
    );
    if (whole)
      return {
        folder,
        server: { initdb: join(folder, 'initdb'), postgres: join(folder, 'postgres'), major },
      };
  }
  return undefined;
}

/** Runs a script by `bash`, with the tools first in its path; gives all that it said. */
export async function runScript(
  script: string,
  { folder }: Tools,
  env: Record<string, string>,
): Promise<{ code: number; said: string }> {
  const { PATH = '', HOME = '' } = process.env;
  const child = promisify(execFile)('bash', ['-c', `exec 2>&1\n${script}`], {
    env: { PATH: `${folder}:${PATH}`, HOME, LC_ALL: 'C.UTF-8', PGCONNECT_TIMEOUT: '10', ...env },
    maxBuffer: 2 ** 26,
    timeout: SCRIPT_MS,
  });
  return child.then(
    ({ stdout }) => ({ code: 0, said: stdout }),
    (error: { code?: number; stdout?: string }) => ({ code: error.code ?? 1, said: error.stdout ?? '' }),
  );
}
