/** The metrics of the clients: their sessions, subscriptions, tokens and messages, and who is where. */
import type { Registry } from 'prom-client';
import type { Observation, Refused } from '../observation.ts';
import { seriesIn } from './series.ts';

export type ClientObservation = Extract<
  Observation,
  { type: 'frame.published' | `${'session' | 'subscription' | 'auth' | 'message' | 'presence'}.${string}` }
>;

export interface ClientSources {
  sessions(): number;
  sessionsBy(transport: string): number;
  subscriptions(): number;
  topics(): number;
  /** Sessions in channels. */
  present(): number;
}

/** Close codes with a series of their own; a client can make up others. */
const closeCodes = new Set([1000, 1001, 1005, 1006, 1009, 1011, 4400, 4401, 4403, 4408, 4429]);

const TRANSPORTS = ['websocket', 'sse'];

/** Why tokens are refused. */
const REASONS: readonly Refused[] = ['no key', 'malformed', 'signature', 'expired', 'claims', 'unavailable'];

export function createClientMetrics(
  registry: Registry,
  sources: ClientSources,
): (seen: ClientObservation) => void {
  const { counter, counterBy, asked, askedBy } = seriesIn(registry);
  asked('rowcast_sessions', 'Clients connected.', () => sources.sessions());
  const { sessionsBy } = sources;
  askedBy('transport', TRANSPORTS, 'rowcast_transport_sessions', 'Clients by transport.', sessionsBy);
  asked('rowcast_subscriptions', 'Subscriptions of all clients.', () => sources.subscriptions());
  asked('rowcast_topics', 'Distinct topics subscribed to.', () => sources.topics());
  const frames = counter('rowcast_frames_published_total', 'Frames published, each once a topic.');
  const frameBytes = counter('rowcast_frames_published_bytes_total', 'Bytes of the frames published.');
  const opened = counterBy('transport', 'rowcast_sessions_opened_total', 'Clients that came.');
  const closed = counterBy('code', 'rowcast_sessions_closed_total', 'Clients that went, by close code.');
  const slow = counter('rowcast_sessions_slow_total', 'Clients disconnected for being too slow.');
  const errors = counterBy('code', 'rowcast_protocol_errors_total', 'Errors that clients were told of.');
  const added = counter('rowcast_subscriptions_added_total', 'Subscriptions made.');
  const removed = counter('rowcast_subscriptions_removed_total', 'Subscriptions ended.');
  const resumes = counterBy('source', 'rowcast_resumes_total', 'Resumes, by where they were served from.');
  const resumed = counterBy(
    'source',
    'rowcast_resumed_commits_total',
    'Commits that resuming clients were sent.',
  );

  const verified = counter('rowcast_tokens_verified_total', 'Tokens that let somebody in.');
  const refused = counterBy('reason', 'rowcast_tokens_refused_total', 'Tokens that did not, by why.');

  const relayed = counterBy('outcome', 'rowcast_messages_relayed_total', 'Messages of clients and services.');
  const [written, unwritten] = [relayed.labels('written'), relayed.labels('failed')];
  written.inc(0);
  unwritten.inc(0);

  asked('rowcast_channel_stays', 'Sessions in channels, where presence is kept.', () => sources.present());
  const presenceWrites = counter(
    'rowcast_presence_writes_total',
    'Transactions that wrote who came and who went.',
  );
  const presenceFailures = counter(
    'rowcast_presence_failures_total',
    'Times that presence could not be written, or the connection that it needs was lost.',
  );
  // Series of closed sets exist from the start, or a rate over their first event is lost.
  for (const source of ['ring', 'log', 'reset']) resumes.inc({ source }, 0);
  for (const reason of REASONS) refused.inc({ reason }, 0);

  return (seen) => {
    switch (seen.type) {
      case 'frame.published':
        frames.inc(seen.frames);
        return frameBytes.inc(seen.bytes);

      case 'session.opened':
        return opened.inc({ transport: seen.transport });
      case 'session.closed':
        return closed.inc({ code: closeCodes.has(seen.code) ? String(seen.code) : 'other' });
      case 'session.slow':
        return slow.inc();
      case 'session.error':
        return errors.inc({ code: seen.code });
      case 'session.failed':
        // Counted as the error that its client is told of.
        return;
      case 'subscription.added':
        return added.inc();
      case 'subscription.removed':
        return removed.inc();
      case 'subscription.resumed':
        resumed.inc({ source: seen.source }, seen.commits);
        return resumes.inc({ source: seen.source });

      case 'auth.verified':
        return verified.inc();
      case 'auth.refused':
        return refused.inc({ reason: seen.reason });

      case 'message.relayed':
        return written.inc(seen.messages);
      case 'message.failed':
        return unwritten.inc(seen.messages);

      case 'presence.seated':
        // Why it was lost is told by another.
        return;
      case 'presence.lost':
      case 'presence.failed':
        return presenceFailures.inc();
      case 'presence.written':
        return presenceWrites.inc();
      default:
        seen satisfies never;
    }
  };
}
