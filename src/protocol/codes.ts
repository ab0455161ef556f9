/** The codes of the protocol, and the error that carries one to whoever answers the client. */

/** The error codes, each with its meaning; PROTOCOL.md tables them with cause and remedy. */
export const ERROR_CODES = {
  bad_frame: 'the frame is no JSON object of a known type with the right fields',
  bad_topic: 'the topic cannot be read, or names what is not there',
  bad_cursor: 'the cursor is not one that rowcast gave',
  forbidden: 'the token does not allow it',
  duplicate_id: 'the connection has a subscription of that id',
  unknown_id: 'the connection has no subscription of that id',
  limit_exceeded: 'a limit on how much one may have or ask for',
  rate_limited: 'too many frames in too short a time',
  unauthorized: 'no valid token, or it ran out',
  unavailable: 'the service cannot answer now',
  internal: 'a fault of the service',
} as const;
export type ErrorCode = keyof typeof ERROR_CODES;

export const CLOSE_CODES = {
  draining: 1001,
  badFrames: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  tooSlow: 4408,
  overLimit: 4429,
} as const;
export type CloseCode = (typeof CLOSE_CODES)[keyof typeof CLOSE_CODES];

/** A client's fault: becomes an `error` frame, and ends the connection where `close` is set. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ErrorCode;
  readonly id: string | undefined;
  readonly close: CloseCode | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { id?: string | undefined; close?: CloseCode; cause?: unknown } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : {});
    this.code = code;
    this.id = options.id;
    this.close = options.close;
  }
}
