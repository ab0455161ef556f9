/** How long the disk takes to make a commit durable. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { clockMs } from './clock.ts';
import { median } from './statistics.ts';

const PAGE_BYTES = 8192;
const FLUSHES = 200;

/** The median of what it takes to write a page of PostgreSQL's log and flush it, in that folder's file system. */
export async function flushMs(folder: string): Promise<number> {
  const path = join(folder, 'bench-flush');
  const file = await open(path, 'w');
  try {
    const page = Buffer.alloc(PAGE_BYTES, 1);
    // As in the write-ahead log, the file has its length beforehand.
    for (let nth = 0; nth < FLUSHES; nth++) await file.write(page);
    await file.sync();
    const tookMs: number[] = [];
    for (let nth = 0; nth < FLUSHES; nth++) {
      const begunMs = clockMs();
      await file.write(page, 0, PAGE_BYTES, nth * PAGE_BYTES);
      await file.datasync();
      tookMs.push(clockMs() - begunMs);
    }
    return median(tookMs);
  } finally {
    await file.close();
    await rm(path);
  }
}
