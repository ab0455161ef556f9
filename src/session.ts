/**
 * A session: one client's connection, whatever carries it.
 *
 * It knows who its client is and until when, answers the client's frames, and says when it ends. It promises that
 * nothing is thrown into the transport, that nothing is sent once it has ended, and that no frame is looked at before
 * it is known whose it is.
 */
import type { Identity } from './identity.ts';
import {
  type AuthFrame,
  CLOSE_CODES,
  encode,
  errorFrame,
  type PlainFrame,
  ProtocolError,
  parseClientFrame,
} from './protocol.ts';
import { Caller } from './session/caller.ts';
import { toProtocolError } from './session/fault.ts';
import type { Host, Verified } from './session/host.ts';
import { afterFrame, checkRate } from './session/limits.ts';
import { publish } from './session/publishing.ts';
import { closeReason, HEARTBEAT_TOPIC, type Origin, type Socket } from './session/socket.ts';
import { Subscriber, type SubscribingClient } from './session/subscriber.ts';
import { type Subscription, Subscriptions } from './session/subscriptions.ts';

/** `closing`: it is sent no more, and waits for what it was sent to get through. */
export type SessionPhase = 'authenticating' | 'catching up' | 'live' | 'closing' | 'closed';

const MAX_BAD_FRAMES_IN_A_ROW = 10;

export class Session implements SubscribingClient {
  readonly id: string;
  readonly transport: string;
  readonly address: string;
  /** Seconds since the epoch. */
  readonly since = Math.floor(Date.now() / 1_000);
  readonly subscriber: Subscriber;
  readonly #socket: Socket;
  readonly #host: Host;
  readonly #subscriptions: Subscriptions;
  /** Null for a client that has never had a token: most idle ones have none. */
  #caller: Caller | null = null;
  #state: 'authenticating' | 'open' | 'closing' | 'closed' = 'authenticating';
  #badFrames = 0;
  /** When its rate of frames is whole again. */
  #wholeAtMs = 0;

  constructor(id: string, origin: Origin, socket: Socket, host: Host) {
    this.id = id;
    this.transport = origin.transport;
    this.address = origin.address;
    this.#socket = socket;
    this.#host = host;
    this.#subscriptions = new Subscriptions(socket, host.topics, this);
    this.subscriber = new Subscriber(this, host, this.#subscriptions);
  }

  get phase(): SessionPhase {
    if (this.#state !== 'open') return this.#state;
    return this.#subscriptions.catchingUp > 0 ? 'catching up' : 'live';
  }

  get bufferedBytes(): number {
    return this.#state === 'closed' ? 0 : this.#socket.bufferedBytes();
  }

  get identity(): Identity | null {
    return this.#caller?.identity ?? null;
  }

  /** Lets the client in: `welcome`, its first frame, and the heartbeats. */
  welcome(verified: Verified | null): void {
    this.#state = 'open';
    if (verified !== null) this.#callerOf().know(verified);
    const user = this.identity?.user ?? null;
    const cursor = this.#host.cursor();
    const { heartbeatMs } = this.#host.limits;
    this.#answer({ type: 'welcome', protocol: 1, session: this.id, user, cursor, heartbeatMs });
    this.#socket.subscribe(HEARTBEAT_TOPIC);
  }

  /** Lets the client in if its token does. Never rejects. */
  async authenticate(token: string): Promise<void> {
    this.#callerOf().wait();
    try {
      const verified = await this.#host.verify(token);
      if (this.#state !== 'authenticating') return;
      this.welcome(verified);
      this.#goOn();
    } catch (thrown) {
      const error = toProtocolError(thrown, this.id, this.#host.observe);
      // Whose token cannot be checked now has no need of another.
      const close = error.code === 'unauthorized' ? CLOSE_CODES.unauthorized : CLOSE_CODES.overLimit;
      this.fail(new ProtocolError(error.code, error.message, { close }));
    }
  }

  /** Ends the session if its token has run out; `nowMs` since the epoch. */
  expire(nowMs: number): void {
    if (this.#caller?.isOver(nowMs) !== true) return;
    const close = CLOSE_CODES.unauthorized;
    this.fail(new ProtocolError('unauthorized', 'the token has run out; connect with a new one', { close }));
  }

  /** Takes one text frame of the client. */
  receive(text: string): void {
    this.#handle(() => {
      const early = this.#caller?.early;
      if (early) return early.add(text);
      this.#spend();
      const frame = parseClientFrame(text);
      this.#badFrames = 0;
      switch (frame.type) {
        case 'subscribe':
          void this.subscriber.subscribe(frame);
          return;
        case 'unsubscribe':
          return this.subscriber.unsubscribe(frame.id);
        case 'ping':
          return this.#answer({ ...frame, type: 'pong', cursor: this.#host.cursor() });
        case 'publish':
          void publish(frame, this, this.#host.sending);
          return;
        case 'auth':
          void this.#renew(frame);
          return;
      }
    });
  }

  /** Takes a frame that the transport could not hand on, such as one too large. */
  receiveUnreadable(error: ProtocolError): void {
    this.#handle(() => {
      this.#spend();
      throw error;
    });
  }

  /** Tells the client of an error, about the request `id`, and ends the session where the error says so. */
  fail(thrown: unknown, id?: string): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    const error = toProtocolError(thrown, this.id, this.#host.observe);
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
    if (this.#state === 'closing' || this.#state === 'closed') return;
    try {
      frame();
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  /** Takes another token of the same user, or the first. What it does not allow any more ends. Never rejects. */
  async #renew({ id, token }: AuthFrame): Promise<void> {
    this.#callerOf().wait();
    try {
      const verified = await this.#host.verify(token);
      if (this.#state !== 'open') return;
      if (this.identity !== null && this.identity.user !== verified.identity.user)
        throw new ProtocolError(
          'forbidden',
          'the token is of another user; open another connection for that one',
        );
      this.#callerOf().know(verified);
      this.#host.presence?.onIdentity(this);
      this.#answer({ type: 'authenticated', ...(id === undefined ? {} : { id }) });
      await this.subscriber.recheck();
    } catch (thrown) {
      this.fail(thrown, id);
    }
    this.#goOn();
  }

  /** Looks at what came meanwhile. */
  #goOn(): void {
    for (const text of this.#callerOf().goOn()) this.receive(text);
  }

  #callerOf(): Caller {
    this.#caller ??= new Caller();
    return this.#caller;
  }

  /** Refused frames count too. */
  #spend(): void {
    const { limits, now } = this.#host;
    const nowMs = now();
    this.#wholeAtMs = afterFrame(limits, nowMs, this.#wholeAtMs);
    checkRate(limits, nowMs, this.#wholeAtMs);
  }

  #answer(frame: PlainFrame): void {
    this.send(encode(frame));
  }
}
