/** The command line of Docker. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** The image that the setup builds. */
export const IMAGE = 'rowcast:test';

const run = promisify(execFile);

/** Runs `docker` with these arguments; gives what it printed. Rejects with what it complained of. */
export async function docker(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('docker', args, {
    // The Dockerfile needs BuildKit, which is not the default of old engines.
    env: { ...process.env, DOCKER_BUILDKIT: '1' },
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout.trim();
}

/** What a template of Go finds in what is known of a container. */
export function inspect(container: string, template: string): Promise<string> {
  return docker('inspect', '--format', template, container);
}

/** Resolves when `/readyz` of an instance is 200, asked from within its container. */
export async function ready(container: string): Promise<void> {
  const ask = `const ask = () => fetch('http://127.0.0.1:8080/readyz').then(({ ok }) => ok || later(), later);
    const later = () => setTimeout(ask, 20);
    ask();`;
  await docker('exec', container, 'node', '-e', ask);
}

/** A line for whoever runs the tests: a figure that they found. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
