/** What a process uses, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** CPU time of all threads of a process so far, in microseconds. */
export function cpuUs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.reduce((sum, task) => sum + onCpuNs(`/proc/${pid}/task/${task}/schedstat`), 0) / 1e3;
}

/** Resident memory of a process, in bytes. */
export function residentBytes(pid: number): number {
  const [, kB] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kB) * 1024;
}

/** What the kernel holds for itself on the whole machine, sockets among it, in bytes. */
export function kernelBytes(): number {
  const meminfo = readFileSync('/proc/meminfo', 'utf8');
  const [, slab] = /^SUnreclaim:\s+(\d+) kB$/m.exec(meminfo) ?? [];
  return Number(slab) * 1024;
}

function onCpuNs(path: string): number {
  try {
    return Number(readFileSync(path, 'utf8').split(' ')[0]);
  } catch {
    // The thread ended between the listing and the look.
    return 0;
  }
}
