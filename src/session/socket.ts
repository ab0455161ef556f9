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

/** The topic of heartbeats. No client can name it. */
export const HEARTBEAT_TOPIC = '@cursor';
