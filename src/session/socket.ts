/** What a session needs of a connection, whatever carries it. */
export interface Socket {
  send(text: string): void;
  /** What is published to the topic later than this is sent, and nothing published before. */
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** Closes it once what was sent is through. No method is called after it. */
  end(code: number, reason: string): void;
  /** Cuts it. No method is called after it. */
  terminate(): void;
  /** What was sent and has not left yet. */
  bufferedBytes(): number;
}

/** Where a client came from. */
export interface Origin {
  readonly transport: string;
  readonly address: string;
}

/** The topic of heartbeats. No client can name it. */
export const HEARTBEAT_TOPIC = '@cursor';

/** What a close frame has room for, beside the code. */
const MAX_REASON_BYTES = 123;

/** A reason as a close frame can carry it. */
export function closeReason(reason: string): string {
  if (Buffer.byteLength(reason) <= MAX_REASON_BYTES) return reason;
  // A character cut in two is left out.
  return new TextDecoder().decode(Buffer.from(reason).subarray(0, MAX_REASON_BYTES), { stream: true });
}
