/** What goes wrong, as the client tells it. */
import type { ErrorCode } from '../protocol/codes.ts';
import type { ResetReason } from '../protocol/server-frame.ts';

/**
 * A code of the protocol (PROTOCOL.md, "Error codes"), why a subscription began anew, or one of the client's own:
 * `disconnected`, the connection was lost before the answer came; `closed`, the client was closed; `ended`, the
 * service ended the connection for good.
 */
export type RowcastErrorCode = ErrorCode | ResetReason | 'disconnected' | 'closed' | 'ended';

/** An error with a code. Its message is for people, and not to be parsed. */
export class RowcastError extends Error {
  override readonly name = 'RowcastError';
  readonly code: RowcastErrorCode;

  constructor({ code, message }: { readonly code: RowcastErrorCode; readonly message: string }) {
    super(message);
    this.code = code;
  }
}
