/** Messages: on a channel, and in the user's inbox. */
import type { MessageFrame, Row } from '../protocol/server-frame.ts';
import type { Live } from './live.ts';
import type { SubscribeOptions, Subscription } from './subscriber.ts';

/** Who sent a message and when. `from` is null where it came from the database, or without a token. */
export type Envelope = Pick<MessageFrame, 'event' | 'from' | 'at' | 'cursor'>;
export type MessageHandler = (payload: unknown, envelope: Envelope) => void;

export interface Channel {
  /** Resolves when it is committed. Rejects with a `RowcastError`: what the service said, or `disconnected`. */
  publish(event: string, payload?: unknown): Promise<void>;
  /** Calls the handler for each such message from now on; gives the way out. It joins the channel. */
  on(event: string, handler: MessageHandler): () => void;
  /** Who is there, from when it is first asked for. */
  readonly presence: Live;
  /** Leaves the channel. */
  close(): void;
}

export interface Inbox extends Pick<Channel, 'on' | 'close'> {
  /** Sends a message to a user. Resolves and rejects as `publish` of a channel does. */
  send(user: string, event: string, payload?: unknown): Promise<void>;
}

/** The handlers of one topic of messages, subscribed to while there are any. */
export function createMailbox(
  subscribe: (options: SubscribeOptions) => Subscription,
): Pick<Channel, 'on' | 'close'> {
  const entries = new Set<{ readonly event: string; readonly handler: MessageHandler }>();
  let subscription: Subscription | undefined;

  function close(): void {
    entries.clear();
    subscription?.close();
    subscription = undefined;
  }

  return {
    on(event, handler) {
      const entry = { event, handler };
      entries.add(entry);
      subscription ??= subscribe({
        onMessage(message) {
          for (const { event: wanted, handler: call } of [...entries])
            if (wanted === message.event) call(message.payload, message);
        },
      });
      return () => {
        if (entries.delete(entry) && entries.size === 0) close();
      };
    },
    close,
  };
}

export function createChannel(
  name: string,
  subscribe: (topic: string, options: SubscribeOptions) => Subscription,
  publish: Channel['publish'],
  live: (topic: string) => Live<Row>,
): Channel {
  const mailbox = createMailbox((handlers) =>
    subscribe(`#${name.replace(/[%?]/g, encodeURIComponent)}`, handlers),
  );
  let presence: Live | undefined;
  return {
    ...mailbox,
    publish,
    get presence() {
      presence ??= live(`rowcast.presence?channel=eq.${encodeURIComponent(name)}`);
      return presence;
    },
    close() {
      mailbox.close();
      presence?.close();
      presence = undefined;
    },
  };
}
