/** Notifications: commits as a NOTIFY tells of them. */
import type { Observe } from '../observation.ts';

/** A commit that was notified of; without a body it is to be read from the log. */
export interface NotifiedCommit {
  readonly xid: bigint;
  readonly id: bigint;
  readonly at: string;
  readonly body: string | null;
}

/** Reads `xid id "at" NEWLINE lines`, or the xid alone. Null, and an observation, for what is neither. */
export function readNotification(payload: string, observe: Observe): NotifiedCommit | null {
  const commit = commitIn(payload);
  if (commit === null) {
    observe({
      type: 'feed.malformed',
      what: `a notification of ${payload.length} characters that rowcast did not send`,
    });
  }
  return commit;
}

/** Without a regular expression, which takes longer than all the rest when it was not used just now. */
function commitIn(payload: string): NotifiedCommit | null {
  const xidEnd = digitsEnd(payload, 0);
  if (xidEnd === 0) return null;
  const xid = BigInt(payload.slice(0, xidEnd));
  if (xidEnd === payload.length) return { xid, id: 0n, at: '', body: null };
  const idEnd = digitsEnd(payload, xidEnd + 1);
  const atEnd = payload.indexOf('"', idEnd + 2);
  const lineEnd = payload.indexOf('\n', idEnd);
  const isHeader =
    payload.startsWith(' ', xidEnd) &&
    idEnd > xidEnd + 1 &&
    payload.startsWith(' "', idEnd) &&
    atEnd > idEnd + 2 &&
    lineEnd === atEnd + 1;
  if (!isHeader) return null;
  return {
    xid,
    id: BigInt(payload.slice(xidEnd + 1, idEnd)),
    at: payload.slice(idEnd + 2, atEnd),
    body: payload.slice(lineEnd + 1),
  };
}

/** Where the decimal digits from there on end. */
function digitsEnd(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at++) {
    const digit = text.charCodeAt(at) - ZERO;
    if (digit < 0 || digit > 9) break;
  }
  return at;
}

const ZERO = '0'.charCodeAt(0);
