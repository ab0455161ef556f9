/** What clients send to each other, where the configuration lets them. */
import type { Identity } from '../identity.ts';
import { encode, ProtocolError, type PublishFrame, type PublishTarget } from '../protocol.ts';
import type { Sending } from './host.ts';

/** The session that sends. */
export interface PublishingClient {
  readonly identity: Identity | null;
  send(text: string): void;
  fail(thrown: unknown, id?: string): void;
}

/** Answers when it is committed. Never rejects. */
export async function publish(
  frame: PublishFrame,
  client: PublishingClient,
  sending: Sending,
): Promise<void> {
  const { id, event, payload } = frame;
  const { identity } = client;
  try {
    // Who sends it is for the token to say.
    await sending.send({
      to: allowed(frame, identity, sending),
      event,
      payload,
      from: identity?.user ?? null,
    });
    if (id !== undefined) client.send(encode({ type: 'published', id }));
  } catch (thrown) {
    client.fail(thrown, id);
  }
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
