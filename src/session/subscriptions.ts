/**
 * The subscriptions of one session, by the client's ids, and what its socket hears for them.
 *
 * It promises that the socket hears a topic exactly while a subscription to it is live, and
 * heartbeats exactly while none is catching up; and that every topic held is released once.
 * Most sessions have one subscription, and it costs no Map: idle connections are many.
 */
import type { Attendant } from '../hub/presence.ts';
import type { HeldTopic } from '../hub/resolved.ts';
import type { Topics } from '../hub/topics.ts';
import { HEARTBEAT_TOPIC, type Socket } from './socket.ts';

export type SubscriptionPhase = 'resolving' | 'catching up' | 'live' | 'ended';

/** What one `subscribe` asked for. */
export class Subscription {
  readonly id: string;
  /** The topic as the client spelled it. */
  readonly wanted: string;
  phase: SubscriptionPhase = 'resolving';
  /** Held from the end of resolving until the end. */
  topic: HeldTopic | null = null;

  constructor(id: string, wanted: string) {
    this.id = id;
    this.wanted = wanted;
  }

  /** To be asked after every `await`: the client may have unsubscribed, or gone. */
  get hasEnded(): boolean {
    return this.phase === 'ended';
  }
}

export class Subscriptions {
  readonly #socket: Socket;
  readonly #topics: Topics;
  readonly #holder: Attendant;
  #only: Subscription | null = null;
  #all: Map<string, Subscription> | null = null;
  #catchingUp = 0;
  #attached = true;

  constructor(socket: Socket, topics: Topics, holder: Attendant) {
    this.#socket = socket;
    this.#topics = topics;
    this.#holder = holder;
  }

  get size(): number {
    return this.#all?.size ?? (this.#only === null ? 0 : 1);
  }

  /** How many are not live yet. */
  get catchingUp(): number {
    return this.#catchingUp;
  }

  get(id: string): Subscription | undefined {
    if (this.#all !== null) return this.#all.get(id);
    return this.#only?.id === id ? this.#only : undefined;
  }

  /** A copy, so that whoever goes through it may end some. */
  list(): Subscription[] {
    if (this.#all !== null) return [...this.#all.values()];
    return this.#only === null ? [] : [this.#only];
  }

  /** Adds one that is resolving. Its id must be free. */
  add(id: string, wanted: string): Subscription {
    const subscription = new Subscription(id, wanted);
    this.#count(1);
    if (this.#all !== null) {
      this.#all.set(id, subscription);
    } else if (this.#only === null) {
      this.#only = subscription;
    } else {
      this.#all = new Map([
        [this.#only.id, this.#only],
        [id, subscription],
      ]);
      this.#only = null;
    }
    return subscription;
  }

  beginCatchUp(subscription: Subscription): void {
    this.#enter(subscription, 'catching up');
  }

  /** Takes it live in this very turn. Gives the cursor that it begins at; undefined where it has ended. */
  goLive(subscription: Subscription): string | undefined {
    const { topic, phase } = subscription;
    if (topic === null || phase === 'live' || phase === 'ended') return undefined;
    this.#enter(subscription, 'live');
    this.#socket.subscribe(topic.key);
    return this.#topics.cursorOf(topic);
  }

  drop(subscription: Subscription): void {
    const { topic, phase } = subscription;
    if (this.#only === subscription) this.#only = null;
    else this.#all?.delete(subscription.id);
    this.#enter(subscription, 'ended');
    if (topic === null) return;
    if (phase === 'live' && this.#attached && !this.#hears(topic)) this.#socket.unsubscribe(topic.key);
    this.#topics.release(topic, this.#holder);
  }

  dropAll(): void {
    for (const subscription of this.list()) this.drop(subscription);
  }

  /** From here on the socket is left alone. */
  detach(): void {
    this.#attached = false;
  }

  /** Whether another subscription wants the topic, so that the socket must go on hearing it. */
  #hears(topic: HeldTopic): boolean {
    if (topic.holders === 1) return false;
    return this.list().some((one) => one.topic === topic && one.phase === 'live');
  }

  #enter(subscription: Subscription, phase: SubscriptionPhase): void {
    const wasOnItsWay = isOnItsWay(subscription.phase);
    subscription.phase = phase;
    this.#count(Number(isOnItsWay(phase)) - Number(wasOnItsWay));
  }

  #count(more: number): void {
    const before = this.#catchingUp;
    this.#catchingUp += more;
    if (!this.#attached) return;
    // A heartbeat counts for every live subscription, so it must not overtake one that is not yet.
    if (before === 0 && this.#catchingUp > 0) this.#socket.unsubscribe(HEARTBEAT_TOPIC);
    if (before > 0 && this.#catchingUp === 0) this.#socket.subscribe(HEARTBEAT_TOPIC);
  }
}

function isOnItsWay(phase: SubscriptionPhase): boolean {
  return phase === 'resolving' || phase === 'catching up';
}
