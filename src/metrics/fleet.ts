/** The metrics of an instance among others: the lead, and the bus. */
import type { Registry } from 'prom-client';
import type { Observation } from '../observation.ts';
import { seriesIn } from './series.ts';

export type FleetObservation = Extract<Observation, { type: `leader.${string}` | `bus.${string}` }>;

export interface FleetSources {
  /** Hears, or as leader is heard, by NATS. */
  byNats(): boolean;
  leading(): boolean;
}

export function createFleetMetrics(
  registry: Registry,
  sources: FleetSources,
): (seen: FleetObservation) => void {
  const { counter, counterBy, asked } = seriesIn(registry);
  asked('rowcast_leading', '1 while this instance leads, as one of all does.', () => +sources.leading());
  asked('rowcast_bus_nats', '1 while commits are heard of, or as leader said, by NATS.', () =>
    sources.byNats() ? 1 : 0,
  );

  const elections = counter('rowcast_elections_total', 'Times this instance became the leader.');
  const leaderFailures = counter(
    'rowcast_leader_failures_total',
    'Times that leading failed or was lost, here or by another.',
  );
  const mutings = counter('rowcast_mutings_total', 'Times the leader muted the writers’ NOTIFYs.');
  const mutedSeconds = counter('rowcast_muted_seconds_total', 'For how long they were muted.');
  const mutedCommits = counter('rowcast_muted_commits_total', 'Commits read by the leader meanwhile.');
  const busFailures = counter(
    'rowcast_bus_failures_total',
    'Times other instances could not be told, or not be heard, by PostgreSQL.',
  );
  const fallbacks = counter('rowcast_bus_fallbacks_total', 'Times NATS was gone, or could not be reached.');
  const gaps = counter('rowcast_bus_gaps_total', 'Times that words of the leader got lost.');
  const heard = counter('rowcast_bus_heard_total', 'Words of the leader that were heard by NATS.');
  const said = counterBy('outcome', 'rowcast_bus_said_total', 'Words said by NATS as leader.');
  const [sent, dropped] = [said.labels('sent'), said.labels('dropped')];
  sent.inc(0);
  dropped.inc(0);

  return (seen) => {
    switch (seen.type) {
      case 'leader.elected':
        return elections.inc();
      case 'leader.lost':
      case 'leader.failed':
      case 'leader.frozen':
        return leaderFailures.inc();
      case 'leader.muted':
        return mutings.inc();
      case 'leader.unmuted':
        mutedSeconds.inc(seen.durationMs / 1_000);
        return mutedCommits.inc(seen.commits);
      case 'leader.deposed':
      case 'bus.up':
        // Why is told by another; what is, is asked for.
        return;
      case 'bus.failed':
        return busFailures.inc();
      case 'bus.down':
        return fallbacks.inc();
      case 'bus.gap':
        return gaps.inc();
      case 'bus.said':
        return (seen.sent ? sent : dropped).inc();
      case 'bus.heard':
        return heard.inc();
      default:
        seen satisfies never;
    }
  };
}
