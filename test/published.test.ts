/** What was published, counted and told of. */
import { expect, it } from '@jest/globals';
import type { Observation } from '../src/observation.ts';
import { createPublished } from '../src/router/published.ts';
import { createAfterwards } from '../src/server/afterwards.ts';

it('is told of once for all that came, and counted as soon as somebody asks', () => {
  const seen: Observation[] = [];
  const { add: afterwards, settle } = createAfterwards();
  const published = createPublished({ observe: (one) => seen.push(one), afterwards });
  for (const frame of ['a', 'é']) published.add(frame);
  published.tell();
  expect(published.bytes).toBe(3);
  published.add('€');
  published.tell();
  expect(published.bytes).toBe(6);
  expect(seen).toEqual([]);
  settle();
  expect(seen).toEqual([{ type: 'frame.published', frames: 3, bytes: 6 }]);

  // Nothing is told of where nothing came.
  published.tell();
  settle();
  expect(seen).toHaveLength(1);
  published.add('b');
  published.tell();
  settle();
  expect(seen.at(-1)).toEqual({ type: 'frame.published', frames: 1, bytes: 1 });
  expect(published.bytes).toBe(7);
});
