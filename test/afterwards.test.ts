/** What is done once the frames of a turn have left. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import { createAfterwards } from '../src/server/afterwards.ts';

describe('what can wait', () => {
  it('is done in order, at the end of the turn', async () => {
    const done: number[] = [];
    const { add } = createAfterwards();
    for (const n of [1, 2, 3]) add(() => done.push(n));
    await Promise.resolve();
    expect(done).toEqual([]);
    await turn();
    expect(done).toEqual([1, 2, 3]);
    add(() => done.push(4));
    await turn();
    expect(done).toEqual([1, 2, 3, 4]);
  });

  it('is done at once where somebody needs it done, and once', async () => {
    const done: number[] = [];
    const { add, settle } = createAfterwards();
    add(() => done.push(1));
    add(() => {
      // What it needs done is what came before it, which is done.
      settle();
      done.push(2);
      add(() => done.push(4));
    });
    add(() => done.push(3));
    settle();
    expect(done).toEqual([1, 2, 3]);
    await turn();
    expect(done).toEqual([1, 2, 3, 4]);
  });

  it('does not grow with what one turn brings', () => {
    let waiting = 0;
    let most = 0;
    const { add } = createAfterwards();
    for (let n = 0; n < 1_000; n++) {
      most = Math.max(most, ++waiting);
      add(() => waiting--);
    }
    expect(most).toBeLessThan(100);
  });
});
