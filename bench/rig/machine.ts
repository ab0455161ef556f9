/** What the figures were taken on. */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** Open files that a process may have. Node raises its own limit as far as it may. */
export function openFilesLimit(): number {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return Number(soft ?? Number.POSITIVE_INFINITY);
}

/** The machine, in lines. */
export function describeMachine(postgresVersion: string): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown';
  const memory = `${(totalmem() / 2 ** 30).toFixed(1)} GiB`;
  const load = loadavg()[0]?.toFixed(2);
  return [
    `CPU        ${model}, ${availableParallelism()} cores, load before the run ${load}`,
    `memory     ${memory}`,
    `kernel     Linux ${release()}, ${openFilesLimit()} open files a process`,
    `Node       ${process.version}`,
    `PostgreSQL ${postgresVersion}`,
  ].join('\n');
}
