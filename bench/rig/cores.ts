/** Cores: which of them a process runs on. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Cores that this process may run on. */
export function ownCores(): number[] {
  const [, list = ''] = /^Cpus_allowed_list:\s+(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return list.split(',').flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, n) => first + n);
  });
}

/** Whether there is what keeps a process on cores. */
export function canKeep(): boolean {
  return spawnSync('taskset', ['--version']).status === 0;
}

/** Keeps all threads of a process on these cores. Throws where `taskset` is missing or not allowed to. */
export function keepOn(pid: number, cores: readonly number[]): void {
  execFileSync('taskset', ['--all-tasks', '--pid', '--cpu-list', cores.join(','), String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}
