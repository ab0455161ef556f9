/**
 * A NATS server of one's own, on a port that it keeps when it is stopped and started.
 *
 * Where there is no `nats-server` in PATH or beside it, and none can be taken out of Debian's package, there is none,
 * and what needs it is skipped, saying so.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { freePort } from '../../src/dev/port.ts';
import { until } from './facts.ts';

export interface Nats {
  readonly url: string;
  readonly port: number;
  /** Starts it again. */
  start(): Promise<void>;
  /** Ends the process; whoever is connected is cut off. */
  stop(): Promise<void>;
  /** Has it shut down as an operator does: it takes nobody any more, and sends those away who are there. */
  shutDown(): void;
}

const NAME = 'nats-server';
const CACHE = join(process.cwd(), 'node_modules', '.cache', NAME);

let sought: { readonly path: string | undefined } | undefined;

/** Whether there is a server to start. */
export function hasNats(): boolean {
  return program() !== undefined;
}

/** Starts one. */
export async function startNats(args: readonly string[] = []): Promise<Nats> {
  const found = program();
  if (found === undefined) throw new Error(`there is no ${NAME}`);
  const port = await freePort();
  let child: ChildProcess | undefined;

  async function start(): Promise<void> {
    if (found === undefined || child !== undefined) return;
    child = spawn(found, ['-a', '127.0.0.1', '-p', String(port), ...args], { stdio: 'ignore' });
    await until(() => answers(port), { what: `${NAME} answers` });
  }

  async function stop(): Promise<void> {
    const ended = child;
    child = undefined;
    if (ended === undefined || ended.exitCode !== null) return;
    ended.kill('SIGKILL');
    await once(ended, 'exit');
  }

  await start();
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    start,
    stop,
    shutDown: () => void child?.kill('SIGUSR2'),
  };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'data');
    return true;
  } finally {
    socket.on('error', () => undefined);
    socket.destroy();
  }
}

function program(): string | undefined {
  sought ??= { path: find() };
  return sought.path;
}

function find(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  const installed = folders.map((folder) => join(folder, NAME)).find((path) => existsSync(path));
  return installed ?? unpacked();
}

/** Out of Debian's package, without installing it. */
function unpacked(): string | undefined {
  const path = join(CACHE, 'usr', 'sbin', NAME);
  if (existsSync(path)) return path;
  try {
    mkdirSync(CACHE, { recursive: true });
    execFileSync('apt-get', ['download', NAME], { cwd: CACHE, stdio: 'ignore', timeout: 60_000 });
    const archive = readdirSync(CACHE).find((name) => name.endsWith('.deb'));
    if (archive !== undefined) execFileSync('dpkg', ['-x', archive, '.'], { cwd: CACHE, stdio: 'ignore' });
  } catch {
    console.warn(`no ${NAME} (Debian's package of that name): what needs it is skipped`);
  }
  return existsSync(path) ? path : undefined;
}
