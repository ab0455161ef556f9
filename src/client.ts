/**
 * `rowcast/client`: live data for browsers and Node (docs/client.md).
 *
 * One client holds one connection, which it makes when something is wanted and makes again when it is lost.
 */

import { changesOf } from './client/changes.ts';
import { type Channel, createChannel, createMailbox, type Inbox } from './client/channel.ts';
import type { CollectionOptions } from './client/collection.ts';
import { endpointOf } from './client/endpoint.ts';
import type { ClientStatus } from './client/line.ts';
import { createListeners } from './client/listeners.ts';
import { createLive, type Live } from './client/live.ts';
import type { Transaction } from './client/member.ts';
import type { Numbers } from './client/numbers.ts';
import type { SocketConstructor } from './client/socket.ts';
import type { Storage } from './client/storage.ts';
import { createSubscriber, type SubscribeOptions, type Subscription } from './client/subscriber.ts';
import type { Token } from './client/token.ts';
import { createWire } from './client/wire.ts';
import type { Row } from './protocol/server-frame.ts';

export type { Channel, Envelope, Inbox, MessageHandler } from './client/channel.ts';
export type { CollectionOptions as LiveOptions } from './client/collection.ts';
export { RowcastError, type RowcastErrorCode } from './client/error.ts';
export type { ClientStatus } from './client/line.ts';
export type { Live } from './client/live.ts';
export type { Status, Transaction } from './client/member.ts';
export type { Numbers } from './client/numbers.ts';
export type { SocketConstructor, SocketLike } from './client/socket.ts';
export type { Storage } from './client/storage.ts';
export type { Handlers, SubscribeOptions, Subscription } from './client/subscriber.ts';
export type { Token } from './client/token.ts';
export type { Change, MessageFrame, ResetReason, Row } from './protocol/server-frame.ts';

export interface ClientOptions {
  /** `ws://host/ws`; http and https are taken too, a path such as `/live` in a browser, and `/ws` is added to a bare host. */
  readonly url: string | URL;
  readonly token?: Token | undefined;
  /** The WebSocket to use; by default the global one, which Node has from 22 on. That of the package `ws` will do. */
  readonly WebSocket?: SocketConstructor | undefined;
  /** Keeps the cursors of `subscribe` across page loads. */
  readonly storage?: Storage | undefined;
  /** How numbers are read: `exact` of `rowcast/client/exact` keeps all their digits. By default they are doubles. */
  readonly numbers?: (() => Numbers) | undefined;
  /** Told of what a listener or the token function threw, and of what nobody else hears of. Default: `console.error`. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** The rows of a topic's table, where `Tables` is what `rowcast types` writes; of any row elsewhere. */
export type RowOf<Tables, Topic extends string> = Topic extends `${infer Path}?${string}`
  ? RowOf<Tables, Path>
  : Topic extends `${infer Path}:${string}`
    ? RowOf<Tables, Path>
    : Topic extends keyof Tables
      ? Known<Tables[Topic]>
      : `public.${Topic}` extends keyof Tables
        ? Known<Tables[`public.${Topic}`]>
        : Row;
type Known<T> = T extends Row ? T : Row;

export interface Client<Tables = unknown> {
  readonly status: ClientStatus;
  /** Calls the listener when the status changes; gives the way out. */
  onStatus(listener: (status: ClientStatus) => void): () => void;
  /** Calls the handlers with what happens to a topic from now on, after `since`, or after a snapshot. */
  subscribe(topic: string, options: SubscribeOptions): Subscription;
  /** The transactions of a topic, for `for await`. */
  changes(topic: string, options?: SubscribeOptions): AsyncGenerator<Transaction, void, undefined>;
  /** The rows of a topic, right at all times. Throws a `RowcastError` where `order` or `limit` cannot be. */
  live<const Topic extends string>(topic: Topic, options?: CollectionOptions): Live<RowOf<Tables, Topic>>;
  live<T extends Row>(topic: string, options?: CollectionOptions): Live<T>;
  channel(name: string): Channel;
  /** The private messages to the token's user. */
  readonly inbox: Inbox;
  /** Ends everything, for good. */
  close(): void;
}

/** Creates a client. Throws a TypeError that says what to do where `url` is none, or there is no WebSocket. */
export function createClient<Tables = unknown>(options: ClientOptions): Client<Tables> {
  const { token, storage, WebSocket = globalThis.WebSocket } = options;
  const url = endpointOf(options.url);
  if (!WebSocket) throw new TypeError('hand in one as { WebSocket }');
  const numbers = options.numbers?.() ?? JSON;
  const told = createListeners<ClientStatus>(onError);
  const wire = createWire({ url, token, WebSocket, numbers, onError, onStatus });
  const context = { numbers, storage, onError, end: wire.remove, changes };
  let status: ClientStatus = 'idle';
  let inbox: Inbox | undefined;
  let isClosed = false;

  /** Whoever closed the client knows that. */
  function onError(error: unknown): void {
    if (!isClosed) (options.onError ?? console.error)(error);
  }

  function onStatus(): void {
    const now = wire.status;
    if (now === status) return;
    status = now;
    told.tell(now);
  }

  function subscribe(topic: string, wanted: SubscribeOptions): Subscription {
    const member = createSubscriber(withSchema(topic), wanted, context);
    wire.add(member.topic, member, member.cursor);
    return member;
  }

  function changes(topic: string, wanted?: SubscribeOptions): AsyncGenerator<Transaction, void, undefined> {
    return changesOf((handlers) => subscribe(topic, handlers), wanted);
  }

  function live<const Topic extends string>(
    topic: Topic,
    wanted?: CollectionOptions,
  ): Live<RowOf<Tables, Topic>>;
  function live<T extends Row>(topic: string, wanted?: CollectionOptions): Live<T>;
  function live(topic: string, wanted: CollectionOptions = {}): Live {
    const member = createLive<Row>(withSchema(topic), wanted, context);
    wire.add(member.topic, member);
    return member;
  }

  return {
    get status() {
      return status;
    },
    onStatus: told.add,
    subscribe,
    changes,
    live,
    channel: (name) =>
      createChannel(
        name,
        subscribe,
        (event, payload) => wire.publish({ channel: name }, event, payload),
        (topic) => live<Row>(topic),
      ),
    get inbox() {
      inbox ??= {
        ...createMailbox((handlers) => subscribe('@me', handlers)),
        send: (user, event, payload) => wire.publish({ user }, event, payload),
      };
      return inbox;
    },
    close() {
      isClosed = true;
      wire.close();
    },
  };
}

/** One spelling for most who mean the same; the others are found out by what the service answers. */
function withSchema(topic: string): string {
  return topic.replace(/^[^.:?#@]+(?=[:?]|$)/, 'public.$&');
}
