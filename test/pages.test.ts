/** The times of commits, as pages have them. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { msOf, utc } from '../src/feed/pages.ts';

describe('the time of a commit', () => {
  it('is in UTC, to the microsecond, whatever the offset of the session', () => {
    expect(utc('2026-11-24T08:05:03.000001+00:00')).toBe('2026-11-24T08:05:03.000001Z');
    expect(utc('2026-11-24T08:05:03+00:00')).toBe('2026-11-24T08:05:03.000000Z');
    expect(utc('2026-11-24T08:05:03.5+05:30')).toBe('2026-11-24T02:35:03.500000Z');
  });

  it('is told in milliseconds as a date has it', () => {
    const times = fc.array(fc.integer({ min: 1_790_000_000_000, max: 1_790_000_002_999 }), { minLength: 3 });
    fc.assert(
      fc.property(times, fc.integer({ min: 0, max: 999 }), (all, us) => {
        for (const ms of all) {
          const at = new Date(ms).toISOString().replace('Z', `${String(us).padStart(3, '0')}Z`);
          expect(msOf(at)).toBe(ms);
        }
      }),
    );
    expect(msOf('2026-01-02T03:04:05Z')).toBe(Date.UTC(2026, 0, 2, 3, 4, 5));
    expect(msOf('2026-01-02T03:04:05.250000Z')).toBe(Date.UTC(2026, 0, 2, 3, 4, 5, 250));
    expect(msOf('not a time')).toBeNaN();
  });
});
