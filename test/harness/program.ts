/** The program as users run it: a process of its own, from what was built, with no setting of the tests' own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { until } from './facts.ts';

const CLI = join(process.cwd(), 'dist', 'cli.js');
const START_MS = 60_000;

/** How a process ended, and all that it said. */
export interface Outcome {
  /** null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Program {
  readonly pid: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Resolves with what the pattern finds in standard output; rejects when the process ends first. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<Outcome>;
}

export interface ProgramOptions {
  /** What runs; the command line by default. */
  script?: string;
  env?: Record<string, string>;
  cwd?: string;
}

/** Starts `rowcast` with these arguments. */
export function startProgram(
  args: readonly string[],
  { script = CLI, env = {}, cwd }: ProgramOptions = {},
): Program {
  const { PATH = '', HOME = '', TMPDIR } = process.env;
  const child: ChildProcess = spawn(process.execPath, [script, ...args], {
    env: { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  });
  let stdout = '';
  let stderr = '';
  let exited = false;
  child.stdout?.on('data', (text) => {
    stdout += text;
  });
  child.stderr?.on('data', (text) => {
    stderr += text;
  });
  const ended = once(child, 'close').then(([code]: (number | null)[]) => {
    exited = true;
    return { code: code ?? null, stdout, stderr };
  });
  if (child.pid === undefined) throw new Error(`${script} could not be started`);
  return {
    pid: child.pid,
    get stdout() {
      return stdout;
    },
    get stderr() {
      return stderr;
    },
    async said(pattern) {
      const found = await until(() => pattern.exec(stdout) ?? (exited && 'ended'), {
        timeoutMs: START_MS,
        what: `the program says ${pattern}`,
      });
      if (found === 'ended') throw new Error(`the program ended, not having said ${pattern}: ${stderr}`);
      return found;
    },
    kill: (signal) => void child.kill(signal),
    ended,
  };
}

/** Runs `rowcast` to its end. */
export function runProgram(args: readonly string[], options?: ProgramOptions): Promise<Outcome> {
  return startProgram(args, options).ended;
}

/** Starts an instance on a port of its own that ends at once where it is told to. */
export function startService(databaseUrl: string, env: Record<string, string> = {}): Program {
  const own = { DATABASE_URL: databaseUrl, HOST: '127.0.0.1', PORT: '0', ROWCAST_DRAIN_MS: '0' };
  return startProgram(['serve'], { env: { ...own, ...env } });
}

/** The address at which `serve` says that it answers. */
export async function addressOf(program: Program): Promise<string> {
  const [, port] = await program.said(/"event":"server.listening","url":"http:\/\/[^"]*:(\d+)"/);
  return `http://127.0.0.1:${port}`;
}
