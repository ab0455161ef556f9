/** What was published: counted when somebody asks, and told of once for all that comes in one turn. */
import type { Observe } from '../observation.ts';

export interface Published {
  add(frame: string): void;
  /** What was added will be told. */
  tell(): void;
  /** Bytes so far. */
  readonly bytes: number;
}

export interface PublishedOptions {
  observe: Observe;
  /** Does what the frames need not wait for. */
  afterwards: (work: () => void) => void;
}

export function createPublished({ observe, afterwards }: PublishedOptions): Published {
  let uncounted: string[] = [];
  const counted = { frames: 0, bytes: 0 };
  let told = { ...counted };
  let isDue = false;

  function count(): void {
    for (const frame of uncounted) counted.bytes += Buffer.byteLength(frame);
    counted.frames += uncounted.length;
    uncounted = [];
  }

  function tellAll(): void {
    isDue = false;
    count();
    const frames = counted.frames - told.frames;
    const bytes = counted.bytes - told.bytes;
    told = { ...counted };
    observe({ type: 'frame.published', frames, bytes });
  }

  return {
    add: (frame) => void uncounted.push(frame),
    tell() {
      if (isDue || uncounted.length === 0) return;
      isDue = true;
      afterwards(tellAll);
    },
    get bytes() {
      count();
      return counted.bytes;
    },
  };
}
