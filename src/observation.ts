/**
 * Everything that can be observed of a running instance, as one sum type.
 *
 * Code says what happened by calling `observe`; the logger and the metrics
 * switch on `type`, exhaustively, and tests await observations.
 */

/** Where a resuming subscription got its missing commits from. */
export type ResumeSource = 'ring' | 'log' | 'reset';

/** Why the feed read the log. */
export type ReadReason =
  | 'connected'
  | 'confirm'
  | 'large'
  | 'parts'
  | 'tables'
  | 'snapshot'
  | 'retry'
  | 'muted'
  | 'calming'
  | 'calm'
  | 'told'
  | 'joined';

/** Why a token did not let anybody in; `unavailable`: it could not be told. */
export type Refused = 'no key' | 'malformed' | 'signature' | 'expired' | 'claims' | 'unavailable';

export type Observation =
  // listener
  | { type: 'listener.connected'; first: boolean; attempts: number }
  | { type: 'listener.lost'; reason: string }
  | { type: 'listener.retry'; attempt: number; reason: string }
  | { type: 'listener.checked'; durationMs: number }
  // feed
  | { type: 'feed.read'; reason: ReadReason; commits: number; durationMs: number }
  | { type: 'feed.read_failed'; reason: ReadReason; error: string; retryInMs: number }
  | { type: 'feed.caught_up' }
  | { type: 'feed.commit'; xid: bigint; source: 'inline' | 'read'; changes: number; lagMs: number }
  | { type: 'feed.malformed'; what: string }
  | { type: 'feed.queue_usage'; fraction: number }
  | { type: 'feed.log_size'; bytes: number }
  | { type: 'catalog.loaded'; tables: number; durationMs: number }
  | { type: 'catalog.failed'; error: string }
  // leader
  | { type: 'leader.elected' }
  | { type: 'leader.deposed'; reason: string }
  | { type: 'leader.lost'; reason: string }
  | { type: 'leader.failed'; error: string }
  | { type: 'leader.frozen'; pid: number }
  | { type: 'leader.muted' }
  | { type: 'leader.unmuted'; commits: number; durationMs: number }
  // bus
  | { type: 'bus.failed'; error: string }
  | { type: 'bus.up' }
  | { type: 'bus.down'; reason: string }
  | { type: 'bus.gap'; missed: number }
  | { type: 'bus.said'; sent: boolean }
  | { type: 'bus.heard' }
  // hub
  | { type: 'session.opened'; session: string; transport: string }
  | { type: 'session.closed'; session: string; code: number; reason: string }
  | { type: 'session.slow'; session: string; bufferedBytes: number }
  | { type: 'session.error'; session: string; code: string }
  | { type: 'session.failed'; session: string; error: string }
  | { type: 'subscription.added'; topic: string }
  | { type: 'subscription.removed'; topic: string }
  | { type: 'subscription.resumed'; source: ResumeSource; commits: number }
  | { type: 'frame.published'; frames: number; bytes: number }
  // tokens
  | { type: 'auth.verified' }
  | { type: 'auth.refused'; reason: Refused; error: string }
  // messages
  | { type: 'message.relayed'; messages: number }
  | { type: 'message.failed'; messages: number; error: string }
  // presence
  | { type: 'presence.seated'; instance: number }
  | { type: 'presence.lost'; reason: string }
  | { type: 'presence.written'; joined: number; gone: number }
  | { type: 'presence.failed'; error: string }
  // log keeping
  | { type: 'log.pruned'; slots: number; bytes: number }
  | { type: 'log.prune_failed'; error: string }
  | { type: 'migration.applied'; name: string }
  // process
  | { type: 'pool.error'; error: string }
  | { type: 'server.listening'; url: string }
  | { type: 'server.draining'; sessions: number }
  | { type: 'server.stopped' };

/** Tells an observation to whoever watches. It never throws and never waits. */
export type Observe = (observation: Observation) => void;

/** The observation of one type, for those who await it. */
export type ObservationOf<T extends Observation['type']> = Extract<Observation, { type: T }>;

/** The one-line text of whatever was thrown. */
export function reasonOf(thrown: unknown): string {
  if (typeof thrown !== 'object' || thrown === null) return oneLine(String(thrown));
  // Several addresses were tried, and each failed.
  if ('errors' in thrown && Array.isArray(thrown.errors) && thrown.errors.length > 0)
    return reasonOf(thrown.errors[0]);
  const message = 'message' in thrown ? String(thrown.message) : '';
  return oneLine(message || ('name' in thrown ? String(thrown.name) : String(thrown)));
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
