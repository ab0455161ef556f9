/**
 * The metrics: what Prometheus is told, and what each observation adds to it.
 *
 * Owns its registry, so that several instances can live in one process. Names
 * begin with `rowcast_` and carry base units. Label values come from closed
 * sets: no client can add a series.
 */
import { collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import { type ClientSources, createClientMetrics } from './metrics/clients.ts';
import { createFleetMetrics, type FleetSources } from './metrics/fleet.ts';
import { seriesIn } from './metrics/series.ts';
import type { Observe } from './observation.ts';

/** What is asked for when the metrics are read, not told when it changes. */
export interface MetricSources extends ClientSources, FleetSources {
  listenerConnected(): boolean;
  ringBytes(): number;
}

export interface Metrics {
  readonly observe: Observe;
  /** Everything, as text of the type `contentType`. */
  text(): Promise<string>;
  readonly contentType: string;
}

const lagBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const durationBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The metrics of one instance, the process's own among them. */
export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const { counter, counterBy, gauge, asked } = seriesIn(registry);
  const observeFleet = createFleetMetrics(registry, sources);
  const observeClients = createClientMetrics(registry, sources);

  asked('rowcast_ring_bytes', 'Recent commits kept in memory.', () => sources.ringBytes());
  asked('rowcast_listener_connected', '1 while the listener is connected.', () =>
    sources.listenerConnected() ? 1 : 0,
  );

  const connections = counter('rowcast_listener_connections_total', 'Times the listener connected.');
  const reconnections = counter('rowcast_listener_reconnections_total', 'Those of them after the first.');
  const losses = counter('rowcast_listener_losses_total', 'Times the listener lost its connection.');
  const retries = counter('rowcast_listener_retries_total', 'Attempts to reconnect.');
  const checkDuration = new Histogram({
    name: 'rowcast_listener_check_duration_seconds',
    help: 'Round trip of the listener’s health check.',
    registers,
    buckets: durationBuckets,
  });

  const commits = counterBy(
    'source',
    'rowcast_commits_total',
    'Commits heard, inline or by a read of the log.',
  );
  const changes = counter('rowcast_changes_total', 'Changes in the commits heard.');
  const lag = new Histogram({
    name: 'rowcast_commit_lag_seconds',
    help: 'From the commit in PostgreSQL to its publication.',
    registers,
    labelNames: ['source'],
    buckets: lagBuckets,
  });
  const malformed = counter(
    'rowcast_notifications_malformed_total',
    'Notifications that were not understood.',
  );
  const queueUsage = gauge(
    'rowcast_notification_queue_usage_ratio',
    'How full PostgreSQL’s notification queue is.',
  );
  const logBytes = gauge(
    'rowcast_log_bytes',
    'Size of the log in the database, as the leading instance knows it; 0 on the others.',
  );
  const readDuration = new Histogram({
    name: 'rowcast_read_duration_seconds',
    help: 'Reads of the log.',
    registers,
    labelNames: ['reason'],
    buckets: durationBuckets,
  });
  const readCommits = counterBy(
    'reason',
    'rowcast_read_commits_total',
    'Commits that reads of the log brought.',
  );
  const readFailures = counterBy('reason', 'rowcast_read_failures_total', 'Reads of the log that failed.');
  const caughtUp = counter('rowcast_catch_ups_total', 'Times the feed caught up with the log.');
  const tables = gauge('rowcast_watched_tables', 'Tables watched.');
  const catalogFailures = counter('rowcast_catalog_failures_total', 'Failed looks at the watched tables.');

  const prunedBytes = counter('rowcast_log_pruned_bytes_total', 'Bytes taken out of the log.');
  const pruneFailures = counter('rowcast_log_prune_failures_total', 'Prunings of the log that failed.');
  const migrations = counter('rowcast_migrations_applied_total', 'Migrations applied.');
  const poolErrors = counter('rowcast_pool_errors_total', 'Idle connections to PostgreSQL that failed.');
  const draining = gauge('rowcast_draining', '1 while the instance drains.');

  // What every commit touches is bound once.
  const inline = { commits: commits.labels('inline'), lag: lag.labels('inline') };
  const read = { commits: commits.labels('read'), lag: lag.labels('read') };
  inline.commits.inc(0);
  read.commits.inc(0);

  const observe: Observe = (seen) => {
    switch (seen.type) {
      case 'feed.commit': {
        const bound = seen.source === 'inline' ? inline : read;
        bound.commits.inc();
        // The two clocks may differ by a little: a commit is never early.
        bound.lag.observe(seen.lagMs > 0 ? seen.lagMs / 1_000 : 0);
        return changes.inc(seen.changes);
      }
      case 'frame.published':
      case 'session.opened':
      case 'session.closed':
      case 'session.slow':
      case 'session.error':
      case 'session.failed':
      case 'subscription.added':
      case 'subscription.removed':
      case 'subscription.resumed':
      case 'auth.verified':
      case 'auth.refused':
      case 'message.relayed':
      case 'message.failed':
      case 'presence.seated':
      case 'presence.lost':
      case 'presence.failed':
      case 'presence.written':
        return observeClients(seen);

      case 'listener.connected':
        if (!seen.first) reconnections.inc();
        return connections.inc();
      case 'listener.lost':
        return losses.inc();
      case 'listener.retry':
        return retries.inc();
      case 'listener.checked':
        return checkDuration.observe(seen.durationMs / 1_000);

      case 'feed.read':
        readCommits.inc({ reason: seen.reason }, seen.commits);
        return readDuration.observe({ reason: seen.reason }, seen.durationMs / 1_000);
      case 'feed.read_failed':
        return readFailures.inc({ reason: seen.reason });
      case 'feed.caught_up':
        return caughtUp.inc();
      case 'feed.malformed':
        return malformed.inc();
      case 'feed.queue_usage':
        return queueUsage.set(seen.fraction);
      case 'feed.log_size':
        return logBytes.set(seen.bytes);
      case 'catalog.loaded':
        return tables.set(seen.tables);
      case 'catalog.failed':
        return catalogFailures.inc();

      case 'leader.elected':
      case 'leader.deposed':
      case 'leader.lost':
      case 'leader.failed':
      case 'leader.frozen':
      case 'leader.muted':
      case 'leader.unmuted':
      case 'bus.failed':
      case 'bus.up':
      case 'bus.down':
      case 'bus.gap':
      case 'bus.said':
      case 'bus.heard':
        return observeFleet(seen);

      case 'log.pruned':
        return prunedBytes.inc(seen.bytes);
      case 'log.prune_failed':
        return pruneFailures.inc();
      case 'migration.applied':
        return migrations.inc();

      case 'pool.error':
        return poolErrors.inc();
      case 'server.listening':
      case 'server.stopped':
        return;
      case 'server.draining':
        return draining.set(1);
      default:
        seen satisfies never;
    }
  };

  return { observe, text: () => registry.metrics(), contentType: registry.contentType };
}
