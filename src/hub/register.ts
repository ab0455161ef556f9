/** The register: who is connected to this instance, for those who operate it. */
import { CLOSE_CODES } from '../protocol.ts';
import type { Session } from '../session.ts';
import type { ListRequest, Local, SessionInfo, Whom } from './roll-call.ts';

export interface Register extends Local {
  add(session: Session): void;
  remove(session: Session): void;
  /** How many are connected from that address. */
  from(address: string): number;
  /** How many came by that transport. */
  by(transport: string): number;
}

export function createRegister(sessions: ReadonlyMap<string, Session>): Register {
  const addresses = new Map<string, number>();
  const transports = new Map<string, number>();

  function count({ address, transport }: Session, more: 1 | -1): void {
    countIn(addresses, address, more);
    countIn(transports, transport, more);
  }

  function* ofUser(user: string | null): Iterable<Session> {
    for (const session of sessions.values())
      if (user === null || session.identity?.user === user) yield session;
  }

  return {
    add: (session) => count(session, 1),
    remove: (session) => count(session, -1),
    from: (address) => addresses.get(address) ?? 0,
    by: (transport) => transports.get(transport) ?? 0,
    list({ user, after, limit }: ListRequest) {
      const found = [...ofUser(user)].filter(({ id }) => after === null || id > after);
      found.sort((a, b) => (a.id < b.id ? -1 : 1));
      return found.slice(0, limit).map(infoOf);
    },
    disconnect(whom: Whom) {
      const found =
        'user' in whom
          ? [...ofUser(whom.user)]
          : [sessions.get(whom.session)].filter((one) => one !== undefined);
      for (const session of found) session.end(CLOSE_CODES.forbidden, 'disconnected by an operator');
      return found.length;
    },
  };
}

function countIn(counts: Map<string, number>, name: string, more: 1 | -1): void {
  const now = (counts.get(name) ?? 0) + more;
  if (now > 0) counts.set(name, now);
  else counts.delete(name);
}

function infoOf({ id, identity, transport, since, subscriber }: Session): SessionInfo {
  const at = new Date(since * 1_000).toISOString();
  return { id, user: identity?.user ?? null, transport, since: at, subscriptions: subscriber.count };
}
