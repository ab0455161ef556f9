import { describe, expect, it } from '@jest/globals';
import { createMetrics, type MetricSources, type Metrics } from '../src/metrics.ts';
import type { Observation } from '../src/observation.ts';

const quiet: MetricSources = {
  sessions: () => 0,
  sessionsBy: () => 0,
  subscriptions: () => 0,
  topics: () => 0,
  listenerConnected: () => false,
  byNats: () => false,
  leading: () => false,
  present: () => 0,
  ringBytes: () => 0,
};

/** Every series of the text, by name and labels. */
async function seriesOf(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

async function after(...seen: Observation[]): Promise<ReadonlyMap<string, number>> {
  const metrics = createMetrics(quiet);
  for (const each of seen) metrics.observe(each);
  return seriesOf(metrics);
}

describe('the metrics', () => {
  it('count commits and changes, and time their way to publication', async () => {
    const series = await after(
      { type: 'feed.commit', xid: 1n, source: 'inline', changes: 2, lagMs: 3 },
      { type: 'feed.commit', xid: 2n, source: 'inline', changes: 5, lagMs: 700 },
      { type: 'feed.commit', xid: 3n, source: 'read', changes: 1, lagMs: -4 },
    );
    expect(series.get('rowcast_commits_total{source="inline"}')).toBe(2);
    expect(series.get('rowcast_commits_total{source="read"}')).toBe(1);
    expect(series.get('rowcast_changes_total')).toBe(8);
    expect(series.get('rowcast_commit_lag_seconds_sum{source="inline"}')).toBeCloseTo(0.703);
    expect(series.get('rowcast_commit_lag_seconds_bucket{le="0.005",source="inline"}')).toBe(1);
    expect(series.get('rowcast_commit_lag_seconds_bucket{le="1",source="inline"}')).toBe(2);
    expect(series.get('rowcast_commit_lag_seconds_sum{source="read"}')).toBe(0);
  });

  it.each<[string, number, Observation]>([
    ['rowcast_frames_published_total', 3, { type: 'frame.published', frames: 3, bytes: 90 }],
    ['rowcast_frames_published_bytes_total', 90, { type: 'frame.published', frames: 3, bytes: 90 }],
    ['rowcast_sessions_slow_total', 1, { type: 'session.slow', session: 's', bufferedBytes: 1 }],
    [
      'rowcast_sessions_opened_total{transport="websocket"}',
      1,
      { type: 'session.opened', session: 's', transport: 'websocket' },
    ],
    [
      'rowcast_sessions_closed_total{code="4408"}',
      1,
      { type: 'session.closed', session: 's', code: 4408, reason: '' },
    ],
    [
      'rowcast_sessions_closed_total{code="other"}',
      1,
      { type: 'session.closed', session: 's', code: 3999, reason: '' },
    ],
    [
      'rowcast_protocol_errors_total{code="bad_topic"}',
      1,
      { type: 'session.error', session: 's', code: 'bad_topic' },
    ],
    ['rowcast_subscriptions_added_total', 1, { type: 'subscription.added', topic: 't' }],
    ['rowcast_subscriptions_removed_total', 1, { type: 'subscription.removed', topic: 't' }],
    ['rowcast_resumes_total{source="log"}', 1, { type: 'subscription.resumed', source: 'log', commits: 7 }],
    [
      'rowcast_resumed_commits_total{source="log"}',
      7,
      { type: 'subscription.resumed', source: 'log', commits: 7 },
    ],
    [
      'rowcast_read_duration_seconds_sum{reason="confirm"}',
      0.25,
      { type: 'feed.read', reason: 'confirm', commits: 4, durationMs: 250 },
    ],
    [
      'rowcast_read_commits_total{reason="confirm"}',
      4,
      { type: 'feed.read', reason: 'confirm', commits: 4, durationMs: 250 },
    ],
    [
      'rowcast_read_failures_total{reason="large"}',
      1,
      { type: 'feed.read_failed', reason: 'large', error: 'gone', retryInMs: 1 },
    ],
    ['rowcast_catch_ups_total', 1, { type: 'feed.caught_up' }],
    ['rowcast_notifications_malformed_total', 1, { type: 'feed.malformed', what: 'x' }],
    ['rowcast_notification_queue_usage_ratio', 0.125, { type: 'feed.queue_usage', fraction: 0.125 }],
    ['rowcast_log_bytes', 4096, { type: 'feed.log_size', bytes: 4096 }],
    ['rowcast_watched_tables', 2, { type: 'catalog.loaded', tables: 2, durationMs: 1 }],
    ['rowcast_catalog_failures_total', 1, { type: 'catalog.failed', error: 'gone' }],
    ['rowcast_listener_losses_total', 1, { type: 'listener.lost', reason: 'gone' }],
    ['rowcast_listener_retries_total', 1, { type: 'listener.retry', attempt: 1, reason: 'gone' }],
    ['rowcast_listener_check_duration_seconds_sum', 0.5, { type: 'listener.checked', durationMs: 500 }],
    ['rowcast_log_pruned_bytes_total', 8192, { type: 'log.pruned', slots: 1, bytes: 8192 }],
    ['rowcast_log_prune_failures_total', 1, { type: 'log.prune_failed', error: 'gone' }],
    ['rowcast_migrations_applied_total', 1, { type: 'migration.applied', name: '001' }],
    ['rowcast_pool_errors_total', 1, { type: 'pool.error', error: 'gone' }],
    ['rowcast_bus_failures_total', 1, { type: 'bus.failed', error: 'gone' }],
    ['rowcast_bus_fallbacks_total', 1, { type: 'bus.down', reason: 'gone' }],
    ['rowcast_bus_gaps_total', 1, { type: 'bus.gap', missed: 7 }],
    ['rowcast_bus_heard_total', 1, { type: 'bus.heard' }],
    ['rowcast_bus_said_total{outcome="sent"}', 1, { type: 'bus.said', sent: true }],
    ['rowcast_bus_said_total{outcome="dropped"}', 1, { type: 'bus.said', sent: false }],
    ['rowcast_draining', 1, { type: 'server.draining', sessions: 1 }],
  ])('have %s at %d', async (name, value, seen) => {
    expect((await after()).get(name) ?? 0).toBe(0);
    expect((await after(seen)).get(name)).toBe(value);
  });

  it('tell a reconnection of the listener from its first connection', async () => {
    const series = await after(
      { type: 'listener.connected', first: true, attempts: 1 },
      { type: 'listener.connected', first: false, attempts: 3 },
    );
    expect(series.get('rowcast_listener_connections_total')).toBe(2);
    expect(series.get('rowcast_listener_reconnections_total')).toBe(1);
  });

  it('ask for what they are not told', async () => {
    let sessions = 1;
    const metrics = createMetrics({
      sessions: () => sessions,
      sessionsBy: (transport) => (transport === 'sse' ? 5 : 4),
      subscriptions: () => 2,
      topics: () => 3,
      listenerConnected: () => true,
      byNats: () => true,
      leading: () => true,
      present: () => 0,
      ringBytes: () => 4,
    });
    await metrics.text();
    sessions = 9;
    const series = await seriesOf(metrics);
    expect(series.get('rowcast_sessions')).toBe(9);
    expect(series.get('rowcast_transport_sessions{transport="sse"}')).toBe(5);
    expect(series.get('rowcast_transport_sessions{transport="websocket"}')).toBe(4);
    expect(series.get('rowcast_subscriptions')).toBe(2);
    expect(series.get('rowcast_topics')).toBe(3);
    expect(series.get('rowcast_listener_connected')).toBe(1);
    expect(series.get('rowcast_ring_bytes')).toBe(4);
    expect(series.get('rowcast_bus_nats')).toBe(1);
    expect((await seriesOf(createMetrics(quiet))).get('rowcast_listener_connected')).toBe(0);
  });

  it('have the series of closed sets from the start', async () => {
    const series = await after();
    for (const source of ['ring', 'log', 'reset']) {
      expect(series.get(`rowcast_resumes_total{source="${source}"}`)).toBe(0);
    }
    expect(series.get('rowcast_tokens_refused_total{reason="unavailable"}')).toBe(0);
    expect(series.get('rowcast_commits_total{source="inline"}')).toBe(0);
    expect(series.get('rowcast_commits_total{source="read"}')).toBe(0);
  });

  it('have the process and its event loop', async () => {
    const series = await after();
    expect(series.get('process_resident_memory_bytes')).toBeGreaterThan(0);
    expect(series.has('nodejs_eventloop_lag_p99_seconds')).toBe(true);
  });

  it('say a help and a type of each, in base units', async () => {
    const metrics = createMetrics(quiet);
    const text = await metrics.text();
    expect(metrics.contentType).toMatch(/^text\/plain; version=0\.0\.4/);
    const typed = [...text.matchAll(/^# TYPE (rowcast_\w+) (\w+)$/gm)];
    expect(typed.length).toBeGreaterThan(25);
    for (const [, name = '', type] of typed) {
      expect(text).toContain(`# HELP ${name} `);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      if (type === 'histogram') expect(name).toMatch(/_seconds$/);
    }
  });
});
