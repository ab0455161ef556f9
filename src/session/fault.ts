/** What a client is told of a fault. */
import { type Observe, reasonOf } from '../observation.ts';
import { ProtocolError } from '../protocol.ts';

/** The same where the client is to be told, else one that says where its operator finds it. */
export function toProtocolError(thrown: unknown, session: string, observe: Observe): ProtocolError {
  if (thrown instanceof ProtocolError) return thrown;
  observe({ type: 'session.failed', session, error: reasonOf(thrown) });
  return new ProtocolError('internal', `a fault of the service; its operator finds it by ${session}`);
}
