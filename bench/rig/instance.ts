/** An instance of rowcast as an operator runs it: the built command line, in a process with a clean environment. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../../src/dev/port.ts';

export interface Instance {
  readonly pid: number;
  readonly port: number;
  stop(): Promise<void>;
}

/** Seen from `bench/dist/bench/rig`, where this file runs. */
const CLI = fileURLToPath(new URL('../../../../dist/cli.js', import.meta.url));
const START_MS = 15_000;
const LOOK_MS = 50;
/** Instances that run. One listener ends them all: Node warns of many. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill();
});

/** Applies the migrations to a database. */
export async function migrate(databaseUrl: string): Promise<void> {
  await promisify(execFile)(process.execPath, [CLI, 'migrate'], { env: { DATABASE_URL: databaseUrl } });
}

/** Starts an instance on a free port; resolves when it is ready. Settings that are neither below nor in `env` are the defaults. */
export async function startInstance(
  databaseUrl: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Instance> {
  const port = await freePort();
  const child = spawn(process.execPath, [...profiling(), CLI, 'serve'], {
    env: {
      DATABASE_URL: databaseUrl,
      HOST: '127.0.0.1',
      PORT: String(port),
      // Frames are counted: no heartbeat may come between.
      ROWCAST_HEARTBEAT_MS: '300000',
      ROWCAST_DRAIN_MS: '0',
      ...env,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = once(child, 'exit');
  running.add(child);
  const { pid } = child;
  if (pid === undefined) throw new Error(`cannot start ${CLI}`);

  async function stop(): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await exited;
    running.delete(child);
  }

  const deadline = performance.now() + START_MS;
  while (!(await isReady(port))) {
    if (child.exitCode !== null) throw new Error(`the instance ended with exit code ${child.exitCode}`);
    if (performance.now() > deadline) {
      await stop();
      throw new Error(`the instance is not ready after ${START_MS} ms`);
    }
    await delay(LOOK_MS);
  }
  return { pid, port, stop };
}

async function isReady(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/readyz`).then(
    (response) => response.ok,
    () => false,
  );
}

/** With `BENCH_PROFILE` set to a folder, each instance leaves a CPU profile there. */
function profiling(): string[] {
  const { BENCH_PROFILE: folder } = process.env;
  return folder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${folder}`];
}
