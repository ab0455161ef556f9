/**
 * Presence: who is in which channel on this instance, for the table that says so of all instances.
 *
 * What changes goes together, many sessions in one transaction. It promises that what is written comes to be what is
 * true, whatever fails in between, and that writing takes no more than a few transactions a second.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Identity } from '../identity.ts';
import { type Observe, reasonOf } from '../observation.ts';
import type { Attendance, Place, WriteAttendance } from '../postgres/seat.ts';
import { ProtocolError } from '../protocol.ts';

/** A session, as others see it in a channel. */
export interface Attendant {
  readonly id: string;
  readonly identity: Identity | null;
}

export interface Presence {
  /** It holds the channel's topic, once more. */
  enter(attendant: Attendant, channel: string): void;
  leave(attendant: Attendant, channel: string): void;
  /** Its token is another. */
  onIdentity(attendant: Attendant): void;
  /** Of what was written no more than this is there, and perhaps what should not be: all is made right. */
  restate(written: readonly Place[]): void;
  /** Writes what there is to write, and no more after that. Resolves when that is done, or has failed. */
  stop(): Promise<void>;
  /** Sessions in channels. */
  readonly size: number;
}

export interface PresenceOptions {
  /** Whether whoever is in the channel is seen there. */
  isPresent(channel: string, identity: Identity | null): boolean;
  write: WriteAttendance;
  observe: Observe;
  /** Between one transaction and the next, in milliseconds. */
  pauseMs?: number;
}

/** How often a session holds the channel, and as whom it is seen. */
interface Stay {
  readonly place: Place;
  readonly since: string;
  holds: number;
  user: string | null;
  isSeen: boolean;
}

const MAX_TOGETHER = 2_000;
const PAUSE_MS = 100;
const RETRY_MS = 1_000;

export function createPresence({ isPresent, write, observe, pauseMs = PAUSE_MS }: PresenceOptions): Presence {
  /** By session, then by channel. */
  const stays = new Map<string, Map<string, Stay>>();
  /** What may not be written as it is. */
  const unwritten = new Map<string, Place>();
  let writing: Promise<void> | null = null;
  const stopping = new AbortController();
  let size = 0;

  function look(stay: Stay, { identity }: Attendant): void {
    stay.isSeen = isPresent(stay.place.channel, identity);
    stay.user = identity?.user ?? null;
  }

  function mark(place: Place): void {
    unwritten.set(`${place.session} ${place.channel}`, place);
    if (!stopping.signal.aborted) writing ??= writeAll();
  }

  async function writeAll(): Promise<void> {
    // Whoever else comes in this turn goes along.
    await delay(0);
    while (unwritten.size > 0) {
      const batch = [...unwritten].slice(0, MAX_TOGETHER);
      for (const [key] of batch) unwritten.delete(key);
      const done = await writeTogether(batch);
      if (!done && stopping.signal.aborted) break;
      await pause(done ? pauseMs : RETRY_MS);
    }
    writing = null;
  }

  /** False where it is to be tried again. */
  async function writeTogether(batch: readonly [string, Place][]): Promise<boolean> {
    const joined: Attendance[] = [];
    const gone: Place[] = [];
    for (const [, place] of batch) {
      const stay = stays.get(place.session)?.get(place.channel);
      if (stay?.isSeen) joined.push({ ...place, user: stay.user, since: stay.since });
      else gone.push(place);
    }
    try {
      await write(joined, gone);
      observe({ type: 'presence.written', joined: joined.length, gone: gone.length });
      return true;
    } catch (error) {
      const isBad = error instanceof ProtocolError && error.code === 'bad_frame';
      if (isBad && batch.length > 1) {
        // One of them: the others are none the worse for it.
        const half = batch.length >> 1;
        const first = await writeTogether(batch.slice(0, half));
        return (await writeTogether(batch.slice(half))) && first;
      }
      observe({ type: 'presence.failed', error: reasonOf(error) });
      if (isBad) return true;
      for (const [key, place] of batch) unwritten.set(key, place);
      return false;
    }
  }

  async function pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: stopping.signal }).catch(reasonOf);
  }

  return {
    get size() {
      return size;
    },
    enter(attendant, channel) {
      const ofSession = stays.get(attendant.id) ?? new Map<string, Stay>();
      stays.set(attendant.id, ofSession);
      const known = ofSession.get(channel);
      if (known !== undefined) {
        known.holds++;
        return;
      }
      const place = { channel, session: attendant.id };
      const since = new Date().toISOString();
      const stay: Stay = { place, since, holds: 1, user: null, isSeen: false };
      ofSession.set(channel, stay);
      size++;
      look(stay, attendant);
      if (stay.isSeen) mark(place);
    },
    leave(attendant, channel) {
      const ofSession = stays.get(attendant.id);
      const stay = ofSession?.get(channel);
      if (ofSession === undefined || stay === undefined || --stay.holds > 0) return;
      ofSession.delete(channel);
      if (ofSession.size === 0) stays.delete(attendant.id);
      size--;
      if (stay.isSeen) mark(stay.place);
    },
    onIdentity(attendant) {
      for (const stay of stays.get(attendant.id)?.values() ?? []) {
        const { user, isSeen } = stay;
        look(stay, attendant);
        if (user !== stay.user || isSeen !== stay.isSeen) mark(stay.place);
      }
    },
    restate(written) {
      for (const { channel, session } of written) mark({ channel, session });
      for (const ofSession of stays.values())
        for (const { place, isSeen } of ofSession.values()) if (isSeen) mark(place);
    },
    async stop() {
      stopping.abort();
      await (writing ?? writeAll());
    },
  };
}
