/**
 * An ordinary PostgreSQL server of one's own, for development and tests.
 *
 * Owns the server process and its data folder. Promises: it runs for root and
 * for a plain user, wherever the checkout lies; only this machine can reach it,
 * with a password; it can be stopped, crashed and started again on the same port
 * and data; and it does not outlive the process that started it.
 */
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Account, canReach, ownFolder, serverAccount, sharedFolder } from './account.ts';
import { type Binaries, findBinaries } from './binaries.ts';
import { fingerprint, stopOrphan } from './orphan.ts';
import { freePort, isFree } from './port.ts';
import { launch, type Postmaster, run, type StopMode } from './postmaster.ts';

/** How the server is set up. */
export interface PostgresOptions {
  /**
   * Where the data is kept. Root's server runs as another user: where that one
   * cannot reach this folder, one under /var/tmp named after it stands in.
   * Left out: a folder that `dispose` removes.
   */
  dataDir?: string;
  /** The port on 127.0.0.1; 0, the default, takes a free one. */
  port?: number;
  /** Further settings, as for `postgres -c name=value`. */
  settings?: Record<string, string>;
  /** The programs to use; those of the optional package when left out. */
  binaries?: Binaries;
  /** Gets each line that the server logs. */
  onLog?: (line: string) => void;
}

/** A server that was started; it can be stopped and started again. */
export interface Postgres {
  /** The superuser's address of the database `postgres`. */
  readonly url: string;
  readonly port: number;
  /** Where the data really is. */
  readonly dataDir: string;
  /** The server's process, undefined while it is stopped. */
  readonly pid: number | undefined;
  /** Starts it again and gives back control once it accepts connections. */
  start(): Promise<void>;
  /**
   * Stops it and waits until it is gone: `smart` waits for clients to leave,
   * `fast` disconnects them, `immediate` is a crash that the next start recovers from.
   */
  stop(mode?: StopMode): Promise<void>;
  /** Stops it, and removes the data folder if none was asked for. */
  dispose(): Promise<void>;
}

/** Starts a server and waits until it accepts connections. Errors are one line that says what to do. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  let account = await serverAccount();
  const binaries = options.binaries ?? (await findBinaries(account));
  const dataDir = await placeData(options.dataDir, account);
  const home = join(dataDir, 'server');
  const cluster = join(home, 'cluster');
  const port = options.port || (await freePort());
  let running: Postmaster | undefined;

  await stopOrphan(home);
  await initialise(home, binaries, account);
  if (account !== undefined) {
    // Root may have come another way the last time (by sudo or not): the data stays its first user's.
    const { uid, gid } = await stat(cluster);
    if (uid !== 0) account = { uid, gid };
  }
  const password = (await readFile(join(home, 'password'), 'utf8')).trim();
  const url = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;

  async function start(): Promise<void> {
    if (running?.pid !== undefined) throw new Error('the embedded PostgreSQL is running already');
    const settings = {
      listen_addresses: '127.0.0.1',
      port: String(port),
      unix_socket_directories: '',
      ...options.settings,
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    if (!(await isFree(port)))
      throw new Error(`port ${port} for the embedded PostgreSQL is in use: choose another`);
    await writeFile(join(home, 'owner'), fingerprint());
    running = await launch({
      program: binaries.postgres,
      args: ['-D', cluster, ...flags],
      cwd: home,
      account,
      url,
      onLog: options.onLog,
    });
  }

  async function stop(mode: StopMode = 'fast'): Promise<void> {
    await running?.stop(mode);
    running = undefined;
  }

  async function dispose(): Promise<void> {
    const throwAway = options.dataDir === undefined;
    await stop(throwAway ? 'immediate' : 'fast');
    if (throwAway) await rm(dataDir, { recursive: true, force: true });
  }

  try {
    await start();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    url,
    port,
    dataDir,
    get pid() {
      return running?.pid;
    },
    start,
    stop,
    dispose,
  };
}

/** The folder of the data: this process's own, and passable for the account. */
async function placeData(wanted: string | undefined, account: Account | undefined): Promise<string> {
  const mode = account === undefined ? 0o700 : 0o755;
  if (wanted === undefined) {
    const made = await mkdtemp(join(await sharedFolder(account), 'rowcast-data-'));
    await chmod(made, mode);
    return made;
  }
  const asked = resolve(wanted);
  if (await canReach(account, asked)) {
    await ownFolder(asked, mode);
    return asked;
  }
  const shared = await sharedFolder(account, ['/var/tmp', '/tmp']);
  const place = join(shared, `rowcast-data${asked.replaceAll(/[^\w.-]+/g, '-')}`);
  await ownFolder(place, mode);
  return place;
}

/**
 * Makes the cluster if there is none: beside its place, put there by one rename,
 * so that a start that was killed half-way leaves nothing that looks ready.
 */
async function initialise(home: string, binaries: Binaries, account: Account | undefined): Promise<void> {
  if (await stat(home).catch(() => undefined)) return;
  const fresh = await mkdtemp(`${home}-`);
  try {
    await chmod(fresh, account === undefined ? 0o700 : 0o755);
    const cluster = join(fresh, 'cluster');
    const password = join(fresh, 'password');
    await mkdir(cluster, { mode: 0o700 });
    await writeFile(password, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
    if (account !== undefined) {
      await chown(cluster, account.uid, account.gid);
      await chown(password, account.uid, account.gid);
    }
    // From 17 on PostgreSQL has a locale of its own; before, it takes that of the C library.
    const locale =
      binaries.major >= 17
        ? ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
        : ['--encoding=UTF8', '--locale=C.UTF-8'];
    const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${password}`];
    await run(binaries.initdb, [`--pgdata=${cluster}`, ...access, ...locale, '--no-sync'], fresh, account);
    await rename(fresh, home);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
