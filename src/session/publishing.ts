/** What clients send to each other, where the configuration lets them. */
import type { Identity } from '../identity.ts';
import { ProtocolError, type PublishFrame, type PublishTarget } from '../protocol.ts';
import type { Sending } from './host.ts';

/** Resolves when it is committed. Rejects with a `ProtocolError`: `forbidden`, `bad_frame`, `unavailable`. */
export async function publish(
  frame: PublishFrame,
  identity: Identity | null,
  sending: Sending,
): Promise<void> {
  const { event, payload } = frame;
  // Who sends it is for the token to say.
  await sending.send({ to: allowed(frame, identity, sending), event, payload, from: identity?.user ?? null });
}

function allowed(frame: PublishFrame, identity: Identity | null, sending: Sending): PublishTarget {
  if ('channel' in frame) {
    const { channel } = frame;
    if (sending.mayPublish(channel, identity)) return { channel };
    throw notAllowed(`publish to the channel ${JSON.stringify(channel)}`);
  }
  const { user } = frame;
  if (sending.maySend(user, identity)) return { user };
  throw notAllowed(`send messages to the user ${JSON.stringify(user)}`);
}

function notAllowed(what: string): ProtocolError {
  return new ProtocolError('forbidden', `this client may not ${what}`);
}
