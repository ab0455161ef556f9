/** What a session needs of its hub, and what it offers to those who catch its subscriptions up. */
import type { Presence } from '../hub/presence.ts';
import type { Outgoing } from '../hub/relay.ts';
import type { Topics } from '../hub/topics.ts';
import type { Identity } from '../identity.ts';
import type { Observe } from '../observation.ts';
import { ProtocolError, type SnapshotRequest } from '../protocol.ts';
import type { SessionLimits } from './limits.ts';
import type { Subscription } from './subscriptions.ts';

/** What a subscription begins with, other than now. */
export type CatchUpRequest = { since: string } | { snapshot: true | SnapshotRequest };

/** A session, as whoever catches it up sees it. */
export interface CatchUpClient {
  readonly id: string;
  /** Once the session has ended, it does nothing. */
  send(frame: string): void;
  /** What was sent and has not left yet. */
  readonly bufferedBytes: number;
  /** Takes a subscription live in this very turn. Gives its cursor; undefined where it has ended. */
  goLive(subscription: Subscription): string | undefined;
}

/**
 * Answers a subscription with `subscribed` and what its request asks for, and then takes it live.
 * It stops where the subscription has ended meanwhile; what it throws ends the subscription.
 */
export type CatchUp = (
  client: CatchUpClient,
  subscription: Subscription,
  request: CatchUpRequest,
) => Promise<void>;

/** Who a token is of, and until when: milliseconds since the epoch, or null for ever. */
export interface Verified {
  readonly identity: Identity;
  readonly expiresAtMs: number | null;
}

/** What clients may send. */
export interface Sending {
  mayPublish(channel: string, identity: Identity | null): boolean;
  maySend(user: string, identity: Identity | null): boolean;
  /** Resolves when it is committed. Rejects with a `ProtocolError`. */
  send(message: Outgoing): Promise<void>;
}

export interface Host {
  readonly topics: Topics;
  readonly sending: Sending;
  /** Who is in the channels; undefined where nobody is seen in any. */
  readonly presence: Pick<Presence, 'onIdentity'> | undefined;
  /** Whose token it is. Rejects with a `ProtocolError`: `unauthorized`, `unavailable`. */
  verify(token: string): Promise<Verified>;
  readonly limits: SessionLimits;
  readonly catchUp: CatchUp;
  /** The feed's cursor. */
  cursor(): string;
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  readonly observe: Observe;
  /** The session of that id has ended. */
  left(id: string): void;
}

/** The catch-up of a service that has none. Rejects with `unavailable`. */
export async function noCatchUp(): Promise<void> {
  throw new ProtocolError('unavailable', 'this service can only begin now; leave out "since" and "snapshot"');
}
