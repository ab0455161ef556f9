/** When things came, in order: what both clients of the latency measurement keep. */
import { answer } from '../rig/peer.ts';

const timesMs: number[] = [];
let wake = () => {};

/** Something came at that time. */
export function cameAt(ms: number): void {
  timesMs.push(ms);
  wake();
}

/** Makes this process a peer that waits for so many things, and gives when each came. */
export function answerWithArrivals(): void {
  answer({
    async take(count = 0) {
      while (timesMs.length < count) await new Promise<void>((resolve) => (wake = resolve));
      return timesMs.splice(0, count);
    },
  });
}
