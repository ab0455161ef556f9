/**
 * Which user the embedded PostgreSQL runs as, and which folders that user can reach.
 *
 * PostgreSQL refuses to run as root. For root the server therefore runs as
 * another user; for everybody else it runs as that very user.
 */
import { lstat, mkdir, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, resolve } from 'node:path';

/** The user and group that a child process gets. */
export interface Account {
  uid: number;
  gid: number;
}

/** The account for the server: undefined where it is that of this process. Fails when root has none to give. */
export async function serverAccount(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const { SUDO_UID, SUDO_GID } = process.env;
  const [uid, gid] = [Number(SUDO_UID), Number(SUDO_GID)];
  if (Number.isInteger(uid) && uid > 0 && Number.isInteger(gid) && gid > 0) return { uid, gid };
  const entries = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  for (const wanted of ['postgres', 'nobody']) {
    const [, , userId, groupId] = entries.find(([name]) => name === wanted) ?? [];
    if (userId !== undefined && groupId !== undefined && Number(userId) > 0) {
      return { uid: Number(userId), gid: Number(groupId) };
    }
  }
  throw new Error(
    'PostgreSQL cannot run as root and there is no user "postgres" or "nobody" to run it as: set DATABASE_URL to use a server of yours',
  );
}

/** Whether the account may pass through the folder and all above it. Folders that do not exist yet count as passable. */
export async function canReach(account: Account | undefined, folder: string): Promise<boolean> {
  if (account === undefined) return true;
  for (let at = resolve(folder); ; at = dirname(at)) {
    const found = await stat(at).catch(absent);
    if (found !== undefined && !passes(account, found)) return false;
    if (at === dirname(at)) return true;
  }
}

/**
 * The first folder for temporary files that the account can reach and in which
 * nobody else can rename what is ours.
 */
export async function sharedFolder(
  account: Account | undefined,
  candidates: string[] = [tmpdir(), '/tmp', '/var/tmp'],
): Promise<string> {
  for (const folder of candidates) {
    const found = await stat(folder).catch(absent);
    if (found === undefined || !found.isDirectory()) continue;
    const safe = (found.mode & 0o022) === 0 || (found.mode & 0o1000) !== 0;
    if (safe && (await canReach(account, folder))) return folder;
  }
  throw new Error(
    `none of ${candidates.join(', ')} is a folder that the user of PostgreSQL can reach and that is safe: make it so (chmod 1777), or set DATABASE_URL to use a server of yours`,
  );
}

/** Makes the folder, or takes it as it is when it belongs to this process's user and nobody else can write to it. */
export async function ownFolder(folder: string, mode: number): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  // Two may make it at once, which is no fault: what counts is whose it is.
  await mkdir(folder, { mode }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(folder);
  const ours = found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
  if (!ours)
    throw new Error(`${folder} is not a folder of this user's own: remove it, or start from another folder`);
}

function passes(account: Account, folder: { mode: number; uid: number; gid: number }): boolean {
  if (folder.uid === account.uid) return (folder.mode & 0o100) !== 0;
  if (folder.gid === account.gid) return (folder.mode & 0o010) !== 0;
  return (folder.mode & 0o001) !== 0;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
