/**
 * Many clients, each of one room, as cheap as they can be, that follow what the protocol advises: whoever loses its
 * connection is back after a random part of a second, and resumes by its cursor.
 *
 * Rooms count from 1, and so do the changes of each; a client must get those of its room one by one.
 */
import { z } from 'zod';
import { type Client, openClient } from '../../bench/peers/socket.ts';
import { until } from '../harness/facts.ts';

export interface Crowd {
  /** Connects all of them; resolves when each is subscribed. */
  connect(): Promise<void>;
  /** What the protocol does not allow, in words. */
  readonly faults: readonly string[];
  /** How many have not got all that was committed to their rooms. */
  behind(committed: ReadonlyMap<number, number>): number;
  /** How many are on their way back. */
  readonly away: number;
  /** What happened since this was asked for last. */
  report(): Report;
  leave(): void;
}

export interface Report {
  /** Times that a client came back, and tried in vain to. */
  readonly reconnects: number;
  readonly refusals: number;
  /** The most that tried to within any one second. */
  readonly mostInASecond: number;
  /** The longest that one was without a live subscription. */
  readonly longestAwayMs: number;
  /** The longest from a commit until one of its clients had it. */
  readonly longestWaitMs: number;
  /** How connections ended, and how often. */
  readonly ends: Readonly<Record<string, number>>;
}

export interface CrowdOptions {
  /** The load balancer. */
  host?: string;
  port: number;
  clients: number;
  rooms: number;
}

const AT_ONCE = 50;
const JITTER_MS = 1_000;
const CONNECT_MS = 120_000;

const frameSchema = z.object({
  type: z.string(),
  cursor: z.string().optional(),
  at: z.string().optional(),
  changes: z.array(z.object({ new: z.object({ n: z.number() }) })).optional(),
});

/** A crowd that is not connected yet. */
export function createCrowd({ host, port, clients, rooms }: CrowdOptions): Crowd {
  const faults: string[] = [];
  let triedAtMs: number[] = [];
  let reconnects = 0;
  let refusals = 0;
  let longestAwayMs = 0;
  let longestWaitMs = 0;
  let ends: Record<string, number> = {};
  let done = false;

  class Member {
    readonly room: number;
    /** How many of the room's changes it has. */
    got = 0;
    live = false;
    #cursor: string | undefined;
    #lostAtMs = 0;
    #client: Client | undefined;
    #retry: NodeJS.Timeout | undefined;

    constructor(room: number) {
      this.room = room;
    }

    connect(): void {
      this.#client = openClient(
        port,
        (text) => this.#onFrame(text),
        (code) => this.#onEnd(code),
        host,
      );
    }

    #reconnect(): void {
      triedAtMs.push(performance.now());
      this.connect();
    }

    leave(): void {
      clearTimeout(this.#retry);
      this.#client?.leave();
    }

    #onFrame(text: Buffer): void {
      const frame = frameSchema.parse(JSON.parse(text.toString()));
      switch (frame.type) {
        case 'welcome': {
          const topic = `item:insert?room_id=eq.${this.room}`;
          this.#client?.send(JSON.stringify({ type: 'subscribe', id: 'a', topic, since: this.#cursor }));
          return;
        }
        case 'subscribed':
          if (this.#cursor === undefined) this.live = true;
          break;
        case 'live':
          this.live = true;
          reconnects++;
          longestAwayMs = Math.max(longestAwayMs, performance.now() - this.#lostAtMs);
          break;
        case 'change':
          for (const change of frame.changes ?? []) this.#onChange(change.new.n);
          longestWaitMs = Math.max(longestWaitMs, Date.now() - Date.parse(frame.at ?? ''));
          break;
        case 'cursor':
          break;
        default:
          faults.push(`room ${this.room}: ${text}`);
      }
      this.#cursor = frame.cursor ?? this.#cursor;
    }

    #onChange(n: number): void {
      if (n !== this.got + 1) faults.push(`room ${this.room}: after ${this.got} came ${n}`);
      this.got = n;
    }

    #onEnd(code: number): void {
      ends[code] = (ends[code] ?? 0) + 1;
      if (this.live) this.#lostAtMs = performance.now();
      else refusals++;
      this.live = false;
      if (code >= 4_000) faults.push(`room ${this.room}: the connection ended with ${code}`);
      else if (!done) this.#retry = setTimeout(() => this.#reconnect(), Math.random() * JITTER_MS);
    }
  }

  const members = Array.from({ length: clients }, (_, n) => new Member((n % rooms) + 1));

  return {
    faults,
    get away() {
      return members.filter(({ live }) => !live).length;
    },
    async connect() {
      for (let from = 0; from < members.length; from += AT_ONCE) {
        const some = members.slice(from, from + AT_ONCE);
        for (const member of some) member.connect();
        const what = `clients ${from + 1} to ${from + AT_ONCE} are subscribed`;
        await until(() => some.every(({ live }) => live), { timeoutMs: CONNECT_MS, what });
      }
    },
    behind: (committed) => members.filter(({ room, got }) => got !== (committed.get(room) ?? 0)).length,
    report() {
      const seen = {
        reconnects,
        refusals,
        mostInASecond: mostWithin(1_000, triedAtMs),
        longestAwayMs: Math.round(longestAwayMs),
        longestWaitMs: Math.round(longestWaitMs),
        ends,
      };
      triedAtMs = [];
      ends = {};
      refusals = reconnects = longestAwayMs = longestWaitMs = 0;
      return seen;
    },
    leave() {
      done = true;
      for (const member of members) member.leave();
    },
  };
}

/** The most of these moments, which are in order, that any span of so many milliseconds holds. */
export function mostWithin(spanMs: number, moments: readonly number[]): number {
  let first = 0;
  let most = 0;
  for (const [last, at] of moments.entries()) {
    while (at - (moments[first] ?? at) >= spanMs) first++;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
