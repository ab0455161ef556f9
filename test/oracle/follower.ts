/**
 * A follower of the oracle: a bare client that keeps a mirror of what its topic says, through everything.
 *
 * It throws when a frame does not follow from those before: a row's version that does not go up by exactly one, a row
 * inserted twice or changed before it was there, a frame of a subscription that is catching up out of turn.
 */
import { connect, type Frame, type Socket } from '../harness/socket.ts';
import type { Random } from './random.ts';

type Row = Record<string, unknown>;
interface Change {
  op: 'insert' | 'update' | 'delete' | 'truncate';
  key: Row;
  new?: Row;
  old?: Row;
  effect?: 'enter' | 'stay' | 'leave';
}

export interface FollowerStats {
  snapshots: number;
  resumes: number;
  resets: number;
  commits: number;
}

/** What the oracle asks of a follower. */
export interface Following {
  readonly topic: string;
  readonly rows: ReadonlyMap<string, Row>;
  readonly stats: FollowerStats;
  readonly failure: Error | null;
  readonly connected: boolean;
  readonly live: boolean;
  /** Connects to any instance and goes on where it was. False when no instance would have it. */
  connect(): Promise<boolean>;
  /** Leaves in the middle of whatever comes. */
  drop(): void;
  /** Takes the frames that have come. */
  poll(): void;
  settle(): Promise<void>;
  readonly socketClosed: Promise<unknown> | null;
}

export class Follower implements Following {
  readonly topic: string;
  readonly rows = new Map<string, Row>();
  readonly stats: FollowerStats = { snapshots: 0, resumes: 0, resets: 0, commits: 0 };
  readonly #random: Random;
  readonly #urls: () => readonly string[];
  #cursor: string | null = null;
  #socket: Socket | null = null;
  #taken = 0;
  #since: string | null = null;
  #subscribed = false;
  #phase: 'snapshot' | 'catching up' | 'live' = 'snapshot';
  /** Rows of a snapshot under way. */
  #fresh = new Map<string, Row>();
  failure: Error | null = null;

  constructor(topic: string, random: Random, urls: () => readonly string[]) {
    this.topic = topic;
    this.#random = random;
    this.#urls = urls;
  }

  /** Connects to any instance and goes on where it was. False when no instance would have it. */
  async connect(): Promise<boolean> {
    const urls = this.#urls();
    const url = urls[this.#random.below(urls.length)];
    if (url === undefined) return false;
    try {
      this.#socket = await connect(url);
    } catch {
      return false;
    }
    this.#taken = 0;
    this.#subscribed = false;
    const since = this.#cursor;
    this.#since = since;
    if (since === null) this.#phase = 'snapshot';
    else this.#phase = 'catching up';
    this.#fresh = new Map();
    this.#socket.send({
      type: 'subscribe',
      id: 'a',
      topic: this.topic,
      ...(since === null ? { snapshot: true } : { since }),
    });
    if (since !== null) this.stats.resumes++;
    return true;
  }

  /** Leaves in the middle of whatever comes. */
  drop(): void {
    this.poll();
    this.#leave();
  }

  #leave(): void {
    this.#socket?.terminate();
    this.#socket = null;
  }

  get connected(): boolean {
    return this.#socket !== null;
  }

  get live(): boolean {
    return this.#phase === 'live';
  }

  /** Takes the frames that have come. */
  poll(): void {
    const socket = this.#socket;
    if (socket === null || this.failure !== null) return;
    try {
      for (; this.#taken < socket.frames.length && this.#socket === socket; this.#taken++) {
        const frame = socket.frames[this.#taken];
        if (frame) this.#take(frame);
      }
    } catch (error) {
      const before = socket.texts
        .slice(Math.max(0, this.#taken - 4), this.#taken + 1)
        .map((text) => text.slice(0, 600));
      this.failure = new Error(
        `${error instanceof Error ? error.message : String(error)}\nafter since ${this.#since}\n${before.join('\n')}`,
      );
    }
  }

  async settle(): Promise<void> {
    this.poll();
    await this.#socket?.close().catch(() => undefined);
    this.#socket = null;
  }

  get socketClosed(): Promise<unknown> | null {
    return this.#socket?.closed ?? null;
  }

  #take(frame: Frame): void {
    switch (frame.type) {
      case 'subscribed':
        this.#subscribed = true;
        return;
      case 'snapshot': {
        for (const row of frame['rows'] as Row[]) this.#fresh.set(String(row['id']), row);
        if (frame['more'] !== true) {
          this.rows.clear();
          for (const [id, row] of this.#fresh) this.rows.set(id, row);
          this.#phase = 'catching up';
          this.#cursor = frame['cursor'] as string;
          this.stats.snapshots++;
        }
        return;
      }
      case 'change':
        if (this.#phase === 'snapshot')
          throw new Error(`a change before the snapshot: ${JSON.stringify(frame)}`);
        for (const change of frame['changes'] as Change[]) this.#apply(change);
        if (frame['more'] !== true) this.stats.commits++;
        this.#cursor = frame['cursor'] as string;
        return;
      case 'live':
        this.#phase = 'live';
        this.#cursor = frame['cursor'] as string;
        return;
      case 'cursor':
        if (this.#phase !== 'live') {
          if (this.#subscribed) throw new Error('a heartbeat while the subscription is catching up');
          return;
        }
        this.#cursor = frame['cursor'] as string;
        return;
      case 'reset':
        this.stats.resets++;
        this.#cursor = null;
        this.#leave();
        return;
      case 'error':
        if (frame['code'] !== 'unavailable') throw new Error(`an error: ${JSON.stringify(frame)}`);
        // The database is away: again, on another connection.
        this.#leave();
        return;
      default:
        return;
    }
  }

  #apply(change: Change): void {
    const id = String(change.key?.['id']);
    const known = this.rows.get(id);
    const wrong = (why: string) =>
      new Error(`${this.topic}: ${why}: ${JSON.stringify(known)} then ${JSON.stringify(change)}`);
    if (change.op === 'truncate') {
      this.rows.clear();
    } else if (change.effect === 'leave' || change.op === 'delete') {
      if (!known) throw wrong('gone before it was there');
      if (change.effect === 'leave' && (change.new || change.old)) throw wrong('a leave that shows the row');
      if (change.old && change.old['version'] !== known['version']) throw wrong('gone at another version');
      this.rows.delete(id);
    } else if (change.effect === 'enter' || change.op === 'insert') {
      if (known) throw wrong('there already');
      this.rows.set(id, change.new ?? {});
    } else {
      const next = change.new ?? {};
      if (!known || next['version'] !== Number(known['version']) + 1) throw wrong('does not follow');
      this.rows.set(id, next);
    }
  }
}
