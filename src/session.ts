/**
 * A session: one client's connection, whatever carries it.
 *
 * It answers the client's frames and says when it ends. It promises that nothing is thrown into
 * the transport, that nothing is sent once it has ended, that what `subscribed` says is true in
 * the turn in which it is sent, and that no topic stays held after it.
 */
import type { HeldTopic } from './hub/topics.ts';
import { reasonOf } from './observation.ts';
import {
  CLOSE_CODES,
  encode,
  errorFrame,
  type PlainFrame,
  ProtocolError,
  parseClientFrame,
  type ResetReason,
  type SubscribeFrame,
} from './protocol.ts';
import type { CatchUpClient, Host } from './session/host.ts';
import { overRate, overSubscriptions, RATE_BURST_MS, RATE_DEBT_MS } from './session/limits.ts';
import { closeReason, HEARTBEAT_TOPIC, type Socket } from './session/socket.ts';
import { type Subscription, Subscriptions } from './session/subscriptions.ts';

/** `closing`: it is sent no more, and waits for what it was sent to get through. */
export type SessionPhase = 'authenticating' | 'catching up' | 'live' | 'closing' | 'closed';

const MAX_BAD_FRAMES_IN_A_ROW = 10;

export class Session implements CatchUpClient {
  readonly id: string;
  readonly #socket: Socket;
  readonly #host: Host;
  readonly #subscriptions: Subscriptions;
  #state: 'authenticating' | 'open' | 'closing' | 'closed' = 'authenticating';
  #badFrames = 0;
  /** When its allowance of frames is whole again. */
  #wholeAtMs = 0;

  constructor(id: string, socket: Socket, host: Host) {
    this.id = id;
    this.#socket = socket;
    this.#host = host;
    this.#subscriptions = new Subscriptions(socket, host.topics);
  }

  get phase(): SessionPhase {
    if (this.#state !== 'open') return this.#state;
    return this.#subscriptions.catchingUp > 0 ? 'catching up' : 'live';
  }

  get bufferedBytes(): number {
    return this.#state === 'closed' ? 0 : this.#socket.bufferedBytes();
  }

  /** Lets the client in: `welcome`, its first frame, and the heartbeats. */
  welcome(user: string | null): void {
    this.#state = 'open';
    const cursor = this.#host.cursor();
    const { heartbeatMs } = this.#host.limits;
    this.#answer({ type: 'welcome', protocol: 1, session: this.id, user, cursor, heartbeatMs });
    this.#socket.subscribe(HEARTBEAT_TOPIC);
  }

  /** Takes one text frame of the client. */
  receive(text: string): void {
    this.#handle(() => {
      const frame = parseClientFrame(text);
      this.#badFrames = 0;
      switch (frame.type) {
        case 'subscribe':
          void this.#subscribe(frame);
          return;
        case 'unsubscribe':
          return this.#unsubscribe(frame.id);
        case 'ping':
          return this.#answer({ ...frame, type: 'pong', cursor: this.#host.cursor() });
        case 'publish':
          throw new ProtocolError('forbidden', 'clients may not publish here', { id: frame.id });
        case 'auth':
          throw new ProtocolError('unauthorized', 'this service takes no tokens', { id: frame.id });
      }
    });
  }

  /** Takes a frame that the transport could not hand on, such as one too large. */
  receiveUnreadable(error: ProtocolError): void {
    this.#handle(() => {
      throw error;
    });
  }

  /** Tells the client of an error, about the request `id`, and ends the session where the error says so. */
  fail(thrown: unknown, id?: string): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    const error = this.#asProtocolError(thrown);
    // With an id it answers a frame that could be read, such as one whose order names no column: that is no row.
    const isUnread = error.code === 'bad_frame' && id === undefined;
    const isOneTooMany = isUnread && ++this.#badFrames >= MAX_BAD_FRAMES_IN_A_ROW;
    const close = error.close ?? (isOneTooMany ? CLOSE_CODES.badFrames : undefined);
    this.#answer(errorFrame(error, id ?? error.id, close !== undefined));
    this.#host.observe({ type: 'session.error', session: this.id, code: error.code });
    if (close === undefined) return;
    this.end(close, isOneTooMany ? `${this.#badFrames} bad frames in a row` : error.message);
  }

  send(frame: string): void {
    if (this.#state === 'authenticating' || this.#state === 'open') this.#socket.send(frame);
  }

  goLive(subscription: Subscription): string | undefined {
    return this.#subscriptions.goLive(subscription);
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
      this.fail(error, subscription.id);
    }
  }

  /** Says good-bye: the client gets what was sent before, as long as it reads. */
  end(code: number, reason: string): void {
    if (this.closed(code, reason)) this.#socket.end(code, closeReason(reason));
  }

  /**
   * The first half of ending a client that is too slow: from here on nothing is added to what it
   * has yet to read. A close frame would wait behind all of that, so `end` or `cut` comes later.
   */
  shed(): void {
    if (this.#state !== 'open') return;
    this.#subscriptions.dropAll();
    this.#socket.unsubscribe(HEARTBEAT_TOPIC);
    this.#state = 'closing';
  }

  /** Cuts the connection of a client that does not read. */
  cut(code: number, reason: string): void {
    if (this.closed(code, reason)) this.#socket.terminate();
  }

  /** The connection is gone. False where that was known. */
  closed(code: number, reason: string): boolean {
    if (this.#state === 'closed') return false;
    this.#state = 'closed';
    this.#subscriptions.detach();
    this.#subscriptions.dropAll();
    this.#host.left(this.id);
    this.#host.observe({ type: 'session.closed', session: this.id, code, reason });
    return true;
  }

  #handle(frame: () => void): void {
    if (this.#state !== 'open') return;
    try {
      this.#spend();
      frame();
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  /** Never rejects. */
  async #subscribe({ id, topic, since, snapshot }: SubscribeFrame): Promise<void> {
    const { topics, catchUp } = this.#host;
    let subscription: Subscription | undefined;
    try {
      this.#checkRoom(id);
      const request = since !== undefined ? { since } : snapshot !== undefined ? { snapshot } : undefined;
      subscription = this.#subscriptions.add(id);
      const resolved = await topics.resolve(topic);
      // Unsubscribed or gone meanwhile: no one is to be answered, and nothing was held yet.
      if (subscription.hasEnded) return;
      subscription.topic = topics.hold(resolved);
      this.#checkAlone(subscription, subscription.topic, request !== undefined);
      if (request !== undefined) {
        this.#subscriptions.beginCatchUp(subscription);
        return await catchUp(this, subscription, request);
      }
      const cursor = this.#subscriptions.goLive(subscription);
      if (cursor === undefined) return;
      this.#answer({ type: 'subscribed', id, topic: subscription.topic.name, cursor });
    } catch (thrown) {
      if (subscription?.hasEnded) return;
      if (subscription !== undefined) this.#subscriptions.drop(subscription);
      this.fail(thrown, id);
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

  #unsubscribe(id: string): void {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) {
      const message = `there is no subscription ${JSON.stringify(id)} on this connection`;
      throw new ProtocolError('unknown_id', message, { id });
    }
    this.#subscriptions.drop(subscription);
    this.#answer({ type: 'unsubscribed', id });
  }

  #answer(frame: PlainFrame): void {
    this.send(encode(frame));
  }

  /** Pays for a frame. Throws where the client has had its share. */
  #spend(): void {
    const { limits } = this.#host;
    const nowMs = this.#host.now();
    this.#wholeAtMs = Math.max(this.#wholeAtMs, nowMs) + 1_000 / limits.maxFramesPerSecond;
    const debtMs = this.#wholeAtMs - nowMs;
    if (debtMs > RATE_BURST_MS) throw overRate(limits, debtMs > RATE_DEBT_MS);
  }

  #asProtocolError(thrown: unknown): ProtocolError {
    if (thrown instanceof ProtocolError) return thrown;
    this.#host.observe({ type: 'session.failed', session: this.id, error: reasonOf(thrown) });
    return new ProtocolError('internal', `a fault of the service; its operator finds it by ${this.id}`);
  }
}
