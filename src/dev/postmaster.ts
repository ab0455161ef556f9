/**
 * The server's process: starting it, learning that it is ready, and its end.
 *
 * It is a session of its own, so that the interrupt key of a terminal stops the
 * service first and the database after it. Its guard, a shell that waits for this
 * process's end of a pipe to close, stops it when this process dies in any way.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import type { Account } from './account.ts';

const READY_TIMEOUT_MS = 120_000;
const RETRY_MS = 25;
const SIGNALS = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const;
const NOT_READY = new Set(['ECONNREFUSED', 'ECONNRESET', '57P03']);
// Nothing of the caller's environment (PGPORT, PGOPTIONS, locales) may change the server.
const ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/** How a server is told to stop. */
export type StopMode = keyof typeof SIGNALS;

/** A server process that accepted a connection. */
export interface Postmaster {
  /** Undefined once it is gone. */
  readonly pid: number | undefined;
  stop(mode: StopMode): Promise<void>;
}

/** What to start, and how to prove that it is up. */
export interface Launch {
  program: string;
  args: string[];
  cwd: string;
  account: Account | undefined;
  url: string;
  onLog: ((line: string) => void) | undefined;
}

/** Starts the server; comes back when it accepts connections, fails with what the server said last. */
export async function launch(what: Launch): Promise<Postmaster> {
  const child = spawn(what.program, what.args, {
    cwd: what.cwd,
    env: ENVIRONMENT,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    ...what.account,
  });
  let complaint = '';
  let lastLine = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (/\b(FATAL|PANIC):|could not bind/.test(line))
      complaint ||= line.replace(/^.*?(FATAL|PANIC|LOG): +/, '');
    lastLine = line;
    what.onLog?.(line);
  });
  const gone = new Promise<string>((settle) => {
    child.once('error', (error) => settle(error.message));
    // 'close' comes after the last line of its log, 'exit' may come before it.
    child.once('close', (code, signal) =>
      settle(complaint || lastLine || `it ended with ${signal ?? `code ${code}`}`),
    );
  });
  const release = guard(child, what.account);
  void gone.then(release);

  try {
    await ready(what.url, child, gone);
  } catch (error) {
    child.kill('SIGQUIT');
    await gone;
    throw error;
  }
  return {
    get pid() {
      return alive(child) ? child.pid : undefined;
    },
    async stop(mode) {
      child.kill(SIGNALS[mode]);
      await gone;
    },
  };
}

/** Runs a program of PostgreSQL to its end as the account; fails with what it said. */
export async function run(
  program: string,
  args: string[],
  cwd: string,
  account: Account | undefined,
): Promise<void> {
  try {
    await promisify(execFile)(program, args, { cwd, env: ENVIRONMENT, ...account });
  } catch (cause) {
    const { stderr, message } = told(cause);
    const line = stderr.split('\n').find((text) => /error|fatal/i.test(text));
    throw new Error(`cannot run ${program}: ${line ?? message}`, { cause });
  }
}

async function ready(url: string, child: ChildProcess, gone: Promise<string>): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let over: string | undefined;
  void gone.then((reason) => {
    over = reason;
  });
  for (;;) {
    const reason = await attempt(url);
    if (over === undefined && !alive(child)) over = await gone;
    if (over !== undefined) throw new Error(`the embedded PostgreSQL did not start: ${over}`);
    if (reason === undefined) return;
    if (performance.now() > deadline) throw new Error(`the embedded PostgreSQL is not ready: ${reason}`);
    await delay(RETRY_MS);
  }
}

/** Why the server takes no connection yet; undefined when it took one. The password proves that it is ours. */
async function attempt(url: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    return undefined;
  } catch (error) {
    const { code, message } = told(error);
    if (NOT_READY.has(code) || /timeout|terminated/.test(message)) return message;
    throw new Error('another server answers on the port of the embedded PostgreSQL', { cause: error });
  } finally {
    await client.end();
  }
}

/** Starts the guard of a server and gives what ends it. */
function guard(server: ChildProcess, account: Account | undefined): () => void {
  if (server.pid === undefined) return () => undefined;
  const shell = spawn('/bin/sh', ['-c', 'read _; kill -INT "$0"', String(server.pid)], {
    cwd: '/',
    env: ENVIRONMENT,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    ...account,
  });
  shell.unref();
  return () => shell.kill('SIGKILL');
}

function alive(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** What an error has to tell, whichever realm it comes from. */
function told(error: unknown): { code: string; message: string; stderr: string } {
  const told = { code: '', message: String(error), stderr: '' };
  if (typeof error !== 'object' || error === null) return told;
  if ('code' in error) told.code = String(error.code);
  if ('message' in error) told.message = String(error.message);
  if ('stderr' in error) told.stderr = String(error.stderr);
  return told;
}
