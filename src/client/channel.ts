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
  const handlers = new Map<MessageHandler, string>();
  let subscription: Subscription | undefined;

  function close(): void {
    handlers.clear();
    subscription?.close();
    subscription = undefined;
  }

  return {
    on(event, handler) {
      const own: MessageHandler = (payload, envelope) => handler(payload, envelope);
      handlers.set(own, event);
      subscription ??= subscribe({
        onMessage({ payload, event: name, from, at, cursor }) {
          for (const [call, wanted] of [...handlers])
            if (wanted === name) call(payload, { event: name, from, at, cursor });
        },
      });
      return () => {
        if (handlers.delete(own) && handlers.size === 0) close();
      };
    },
    close,
  };
}

export function createChannel(
  name: string,
  mailbox: Pick<Channel, 'on' | 'close'>,
  publish: Channel['publish'],
  live: (topic: string) => Live<Row>,
): Channel {
  let presence: Live | undefined;
  return {
    publish,
    on: mailbox.on,
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
