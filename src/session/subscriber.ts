/**
 * The subscriber: what one client wants to hear, from `subscribe` to the end of each subscription.
 *
 * It promises that what `subscribed` says is true in the turn in which it is sent, that no topic stays held after
 * the session, and that a client hears nothing that it may not.
 */
import { changed, type HeldTopic, keyOf, type Resolved } from '../hub/resolved.ts';
import type { Identity } from '../identity.ts';
import {
  encode,
  type PlainFrame,
  ProtocolError,
  type ResetReason,
  type SubscribeFrame,
} from '../protocol.ts';
import type { CatchUpClient, Host } from './host.ts';
import { overSubscriptions } from './limits.ts';
import type { Subscription, Subscriptions } from './subscriptions.ts';

/** The session, as its subscriber sees it. */
export interface SubscribingClient extends CatchUpClient {
  readonly identity: Identity | null;
  fail(thrown: unknown, id?: string): void;
}

export class Subscriber {
  readonly #client: SubscribingClient;
  readonly #host: Host;
  readonly #subscriptions: Subscriptions;

  constructor(client: SubscribingClient, host: Host, subscriptions: Subscriptions) {
    this.#client = client;
    this.#host = host;
    this.#subscriptions = subscriptions;
  }

  /** Subscriptions. */
  get count(): number {
    return this.#subscriptions.size;
  }

  /** Never rejects. */
  async subscribe({ id, topic, since, snapshot }: SubscribeFrame): Promise<void> {
    const { topics, catchUp } = this.#host;
    let subscription: Subscription | undefined;
    try {
      this.#checkRoom(id);
      const request = since !== undefined ? { since } : snapshot !== undefined ? { snapshot } : undefined;
      subscription = this.#subscriptions.add(id, topic);
      const resolved = await this.#resolve(topic);
      // Unsubscribed or gone meanwhile: no one is to be answered, and nothing was held yet.
      if (subscription.hasEnded) return;
      subscription.topic = topics.hold(resolved, this.#client);
      this.#checkAlone(subscription, subscription.topic, request !== undefined);
      if (request !== undefined) {
        this.#subscriptions.beginCatchUp(subscription);
        return await catchUp(this.#client, subscription, request);
      }
      const cursor = this.#subscriptions.goLive(subscription);
      if (cursor === undefined) return;
      this.#answer({ type: 'subscribed', id, topic: subscription.topic.name, cursor });
    } catch (thrown) {
      if (subscription?.hasEnded) return;
      if (subscription !== undefined) this.#subscriptions.drop(subscription);
      this.#client.fail(thrown, id);
    }
  }

  /** Throws `unknown_id`. */
  unsubscribe(id: string): void {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) {
      const message = `there is no subscription ${JSON.stringify(id)} on this connection`;
      throw new ProtocolError('unknown_id', message, { id });
    }
    this.#subscriptions.drop(subscription);
    this.#answer({ type: 'unsubscribed', id });
  }

  /** Tells every live subscription that what lies between cannot be had. */
  reset(reason: ResetReason): void {
    const cursor = this.#host.cursor();
    for (const { id, phase, topic } of this.#subscriptions.list()) {
      if (phase !== 'live' || topic === null) continue;
      this.#answer({ type: 'reset', id, topic: topic.name, reason, cursor });
    }
  }

  /** Ends the subscriptions to a topic that is no more. */
  endTopic(topic: HeldTopic, error: ProtocolError): void {
    for (const subscription of this.#subscriptions.list()) {
      if (subscription.topic !== topic) continue;
      this.#subscriptions.drop(subscription);
      this.#client.fail(error, subscription.id);
    }
  }

  /**
   * Looks anew at what may not be for this client any more, and ends what is not: of these topics, or of all where
   * none are given. False where some could not be looked at; those go on.
   */
  async recheck(of?: ReadonlySet<HeldTopic>): Promise<boolean> {
    let complete = true;
    for (const subscription of this.#subscriptions.list()) {
      const { topic, wanted, id } = subscription;
      if (topic === null || (of !== undefined && !of.has(topic))) continue;
      try {
        const now = await this.#resolve(wanted);
        if (keyOf(now) !== topic.key) throw changed(topic);
      } catch (thrown) {
        if (subscription.hasEnded) continue;
        if (thrown instanceof ProtocolError && thrown.code === 'unavailable') {
          complete = false;
          continue;
        }
        this.#subscriptions.drop(subscription);
        this.#client.fail(thrown, id);
      }
    }
    return complete;
  }

  /** For who the client is when it is done: another token may have come meanwhile. */
  async #resolve(topic: string): Promise<Resolved> {
    for (;;) {
      const { identity } = this.#client;
      const resolved = await this.#host.topics.resolve(topic, identity);
      if (identity === this.#client.identity) return resolved;
    }
  }

  #checkRoom(id: string): void {
    if (this.#subscriptions.get(id) !== undefined) {
      const message = `the connection has a subscription ${JSON.stringify(id)} already`;
      throw new ProtocolError('duplicate_id', message);
    }
    const { limits } = this.#host;
    if (this.#subscriptions.size >= limits.maxSubscriptions) throw overSubscriptions(limits);
  }

  /** Frames name a topic and no id: what catches up must not reach a subscription that is live, nor the other way. */
  #checkAlone(subscription: Subscription, topic: HeldTopic, catchesUp: boolean): void {
    const other = this.#subscriptions.list().find((one) => one !== subscription && one.topic === topic);
    if (other === undefined || (other.phase === 'live' && !catchesUp)) return;
    const message = `the topic is subscribed to as ${JSON.stringify(other.id)} already; unsubscribe that first`;
    throw new ProtocolError('duplicate_id', message);
  }

  #answer(frame: PlainFrame): void {
    this.#client.send(encode(frame));
  }
}
