/**
 * A server that was left behind in a data folder: told from one that is in use,
 * and stopped.
 *
 * The guard of a server stops it with its parent. This is for when the guard was
 * killed as well.
 */
import { execFile } from 'node:child_process';
import { readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const STOP_TIMEOUT_MS = 30_000;
const RETRY_MS = 25;

/** What a starter leaves beside the cluster: its own pid. */
export function fingerprint(): string {
  return `${process.pid}\n`;
}

/**
 * Stops the server of the folder if the process that started it is gone. Fails
 * if that one lives: then the folder is in use.
 */
export async function stopOrphan(home: string): Promise<void> {
  const cluster = join(home, 'cluster');
  const pid = await firstNumber(join(cluster, 'postmaster.pid'));
  if (pid === undefined || !(await runsFrom(pid, cluster))) return;
  const owner = await firstNumber(join(home, 'owner'));
  if (owner === undefined || owner === (await parentOf(pid))) {
    throw new Error(
      `the data folder ${home} is in use by the PostgreSQL with process id ${pid}${owner ? `, started by process ${owner}` : ''}: stop that one, or start from another folder`,
    );
  }
  process.kill(pid, 'SIGINT');
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (await runsFrom(pid, cluster)) {
    if (performance.now() > deadline)
      throw new Error(`the PostgreSQL left behind (process id ${pid}) does not stop`);
    await delay(RETRY_MS);
  }
}

async function firstNumber(file: string): Promise<number | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const number = Number.parseInt(text, 10);
  return number > 0 ? number : undefined;
}

/** Whether the process lives and is a server on that cluster, not another one that got its number. */
async function runsFrom(pid: number, cluster: string): Promise<boolean> {
  const folder = await realpath(cluster);
  const working = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
  if (working !== undefined) return working === folder;
  return (await ask(pid, 'args')).includes(cluster);
}

async function parentOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // After the name, which may hold anything but ends at the last bracket: state, then the parent.
  const parent = status?.slice(status.lastIndexOf(')') + 2).split(' ')[1];
  return Number(parent ?? (await ask(pid, 'ppid')));
}

/** One column of `ps`, for systems without /proc; empty when there is no such process. */
async function ask(pid: number, column: string): Promise<string> {
  return promisify(execFile)('ps', ['-o', `${column}=`, '-p', String(pid)]).then(
    ({ stdout }) => stdout.trim(),
    () => '',
  );
}
