/** The limits on one session, and what a client is told past them. */
import { CLOSE_CODES, ProtocolError } from '../protocol.ts';

export interface SessionLimits {
  readonly maxSubscriptions: number;
  readonly maxFramesPerSecond: number;
  readonly heartbeatMs: number;
}

/** A client may save up so much of its rate, and then send it at once. */
export const RATE_BURST_MS = 1_000;
/** Refused frames count too: who is so far past its rate does not listen, and is sent away. */
export const RATE_DEBT_MS = 2 * RATE_BURST_MS;

/** When a client's rate is whole again after one more frame, where it was or will be at `wholeAtMs`. */
export function afterFrame(limits: SessionLimits, nowMs: number, wholeAtMs: number): number {
  return Math.max(wholeAtMs, nowMs) + 1_000 / limits.maxFramesPerSecond;
}

/** Throws where the client has had its share. */
export function checkRate(limits: SessionLimits, nowMs: number, wholeAtMs: number): void {
  const debtMs = wholeAtMs - nowMs;
  if (debtMs > RATE_BURST_MS) throw overRate(limits, debtMs > RATE_DEBT_MS);
}

/** The rate is over; `end` says that this ends the connection. */
export function overRate({ maxFramesPerSecond }: SessionLimits, end: boolean): ProtocolError {
  const message = `more than ${maxFramesPerSecond} frames a second; wait, then send more slowly`;
  return new ProtocolError('rate_limited', message, end ? { close: CLOSE_CODES.overLimit } : {});
}

/** No further subscription on this connection. */
export function overSubscriptions({ maxSubscriptions }: SessionLimits): ProtocolError {
  return new ProtocolError(
    'limit_exceeded',
    `a connection may hold ${maxSubscriptions} subscriptions; unsubscribe some first`,
  );
}

/** What may wait while a token is being checked. */
const MAX_EARLY = { frames: 100, chars: 256 * 1024 };

/** Frames that wait for something. */
export class Early {
  readonly #frames: string[] = [];
  #chars = 0;

  /** Throws where there are too many. */
  add(text: string): void {
    this.#frames.push(text);
    this.#chars += text.length;
    if (this.#frames.length <= MAX_EARLY.frames && this.#chars <= MAX_EARLY.chars) return;
    throw new ProtocolError(
      'limit_exceeded',
      'too much was sent while the token is checked; wait for the answer',
      {
        close: CLOSE_CODES.overLimit,
      },
    );
  }

  take(): string[] {
    this.#chars = 0;
    return this.#frames.splice(0);
  }
}

/** No further connection. Browsers can read a frame and a close code, but no status of a handshake. */
export function overConnections({ maxConnections }: { maxConnections: number }): ProtocolError {
  return new ProtocolError(
    'limit_exceeded',
    `this instance takes ${maxConnections} connections; try again after a while`,
    { close: CLOSE_CODES.overLimit },
  );
}

/** No further connection from there. */
export function overConnectionsPerIp({
  maxConnectionsPerIp,
}: {
  maxConnectionsPerIp: number;
}): ProtocolError {
  return new ProtocolError(
    'limit_exceeded',
    `this instance takes ${maxConnectionsPerIp} connections from one address; close some first`,
    { close: CLOSE_CODES.overLimit },
  );
}
