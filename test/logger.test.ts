import { describe, expect, it } from '@jest/globals';
import { createLogger, logObservations } from '../src/logger.ts';
import type { Observation } from '../src/observation.ts';

/** What is logged at `level` while `seen` is observed, line by line. */
function linesOf(level: 'trace' | 'debug' | 'info' | 'warn', ...seen: Observation[]): unknown[] {
  const lines: unknown[] = [];
  const logger = createLogger({ level, destination: { write: (line) => lines.push(JSON.parse(line)) } });
  seen.forEach(logObservations(logger));
  return lines;
}

const commit: Observation = { type: 'feed.commit', xid: 2n ** 63n, source: 'inline', changes: 3, lagMs: 1.5 };
const published: Observation = { type: 'frame.published', frames: 1, bytes: 80 };

describe('the log', () => {
  it('has one line for an observation, with its fields', () => {
    expect(linesOf('info', { type: 'listener.connected', first: false, attempts: 4 })).toEqual([
      expect.objectContaining({
        level: 'info',
        event: 'listener.connected',
        first: false,
        attempts: 4,
        msg: 'listening to PostgreSQL again',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      }),
    ]);
  });

  it.each<[string, Observation]>([
    ['trace', published],
    ['trace', { type: 'listener.checked', durationMs: 1 }],
    ['debug', commit],
    ['debug', { type: 'feed.read', reason: 'confirm', commits: 1, durationMs: 1 }],
    ['debug', { type: 'session.opened', session: 's', transport: 'websocket' }],
    ['debug', { type: 'session.error', session: 's', code: 'bad_topic' }],
    ['debug', { type: 'feed.queue_usage', fraction: 0.01 }],
    ['info', { type: 'feed.caught_up' }],
    ['info', { type: 'server.draining', sessions: 2 }],
    ['info', { type: 'server.stopped' }],
    ['warn', { type: 'feed.queue_usage', fraction: 0.6 }],
    ['warn', { type: 'listener.lost', reason: 'gone' }],
    ['warn', { type: 'listener.retry', attempt: 1, reason: 'gone' }],
    ['warn', { type: 'session.slow', session: 's', bufferedBytes: 1 }],
    ['error', { type: 'feed.read_failed', reason: 'confirm', error: 'gone', retryInMs: 1 }],
    ['error', { type: 'feed.malformed', what: 'x' }],
    ['error', { type: 'catalog.failed', error: 'gone' }],
    ['error', { type: 'log.prune_failed', error: 'gone' }],
    ['error', { type: 'pool.error', error: 'gone' }],
  ])('has at %s: %j', (level, seen) => {
    expect(linesOf('trace', seen)).toEqual([expect.objectContaining({ level, event: seen.type })]);
  });

  it('keeps every digit of a transaction number', () => {
    expect(linesOf('debug', commit)).toEqual([expect.objectContaining({ xid: '9223372036854775808' })]);
  });

  it('does not so much as look at a commit that the level leaves out', () => {
    const looked: PropertyKey[] = [];
    const watched = <T extends Observation>(seen: T): T =>
      new Proxy(seen, {
        get: (target, key) => {
          looked.push(key);
          return Reflect.get(target, key);
        },
        ownKeys: (target) => {
          looked.push('all of it');
          return Reflect.ownKeys(target);
        },
      });
    expect(linesOf('info', watched(commit), watched(published))).toEqual([]);
    expect(new Set(looked)).toEqual(new Set(['type']));
    linesOf('trace', watched(commit));
    expect(looked).toContain('all of it');
  });

  it('follows a level that is changed while it runs', () => {
    const lines: string[] = [];
    const logger = createLogger({ level: 'info', destination: { write: (line) => lines.push(line) } });
    const observe = logObservations(logger);
    observe(commit);
    logger.level = 'debug';
    observe(commit);
    expect(lines).toHaveLength(1);
  });

  it.each([
    ['a password in an address', 'cannot reach postgres://app:hunter2@db:5432/shop today'],
    ['a password with reserved characters', 'cannot reach postgres://app:hun/hunter2@x@db:5432/shop'],
    ['a token in a query', 'GET /ws?topic=messages&token=hunter2'],
    ['a bearer token', 'Authorization: Bearer hunter2'],
    ['a password setting', 'host=db password=hunter2'],
  ])('does not hold %s', (_, error) => {
    const told = JSON.stringify(linesOf('info', { type: 'pool.error', error }));
    expect(told).not.toContain('hunter2');
    expect(told).toContain('***');
  });

  it('cuts the long farewell of a client', () => {
    const reason = 'x'.repeat(100_000);
    const told = linesOf('debug', { type: 'session.closed', session: 's', code: 1000, reason });
    expect(JSON.stringify(told).length).toBeLessThan(1_500);
  });
});
