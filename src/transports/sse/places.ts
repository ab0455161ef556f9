/**
 * Places: where each topic of a stream is, and the one id that says so of all of them.
 *
 * A cursor belongs to its subscription, and a browser keeps one id for the whole stream. The id of a stream of one
 * topic is its cursor. That of several is a list: which topics of which stream are at which cursor. It stays short,
 * for two reasons: between two commits all topics that are live are at one cursor (`settled`), so only those that got
 * their part of the commit at hand differ; and of a cursor only what differs from the one before it is spelled.
 *
 *     tag ; cursor of the rest [ ; place,place… = shared : suffix ]…
 *
 * Places are counted from 1, as the topics stand in the URL; `shared` is how many characters the cursor has in common
 * with the one before. No cursor at all, `0:` or nothing, is that of a topic which has yet to get its first.
 */
import { createHash } from 'node:crypto';
import { ProtocolError } from '../../protocol.ts';
import type { Head } from './event.ts';

/** The newest cursor that counts for whatever is live, and how often there was a newer one. */
export interface Settled {
  readonly cursor: string;
  readonly generation: number;
}

interface Place {
  cursor: string;
  /** The settled cursors that came later count for it too. */
  live: boolean;
  generation: number;
}

/** No cursor yet. */
const NONE = '';

export class Places {
  readonly #tag: string;
  readonly #settled: () => Settled;
  /** Of each topic, in the order of the URL, the cursor that it was asked to begin at. */
  readonly #begun: readonly string[];
  readonly #names: (string | undefined)[];
  readonly #places = new Map<string, Place>();

  constructor(topics: readonly string[], begun: readonly string[], settled: () => Settled) {
    this.#tag = tagOf(topics);
    this.#begun = begun;
    this.#names = topics.map(() => undefined);
    this.#settled = settled;
  }

  /** Takes a frame that is sent now, and gives the id to send with it; undefined where it brings no cursor. */
  take({ type, id, topic, cursor }: Head, catchesUp: (place: number) => boolean): string | undefined {
    if (type === 'subscribed' && topic !== undefined) {
      const place = Number(id) - 1;
      this.#names[place] = topic;
      // Two spellings of one topic share it.
      if (!this.#places.has(topic)) this.#put(topic, cursor ?? NONE, !catchesUp(place));
    } else if (topic !== undefined && cursor !== undefined) {
      const isLive = type === 'live' || type === 'reset' || this.#places.get(topic)?.live === true;
      this.#put(topic, cursor, isLive);
    } else if (type === 'error' && id !== undefined) {
      this.#freeze(Number(id) - 1);
    }
    const counts = cursor !== undefined && type !== 'welcome' && type !== 'pong';
    return counts ? this.#spell() : undefined;
  }

  #put(topic: string, cursor: string, live: boolean): void {
    this.#places.set(topic, { cursor, live, generation: this.#settled().generation });
  }

  /** What comes from now on does not count for a subscription that has ended. */
  #freeze(index: number): void {
    const name = this.#names[index];
    if (name !== undefined && this.#places.has(name)) this.#put(name, this.#cursorAt(name, index), false);
  }

  #spell(): string {
    const cursors = this.#names.map((name, index) => this.#cursorAt(name, index));
    if (cursors.length === 1) return cursors[0] ?? NONE;
    return spellPlaces(this.#tag, cursors);
  }

  #cursorAt(name: string | undefined, index: number): string {
    const place = name === undefined ? undefined : this.#places.get(name);
    if (place === undefined) return this.#begun[index] ?? NONE;
    const settled = this.#settled();
    return place.live && settled.generation > place.generation ? settled.cursor : place.cursor;
  }
}

function spellPlaces(tag: string, cursors: readonly string[]): string {
  const byCursor = new Map<string, number[]>();
  for (const [index, cursor] of cursors.entries()) {
    const places = byCursor.get(cursor);
    if (places === undefined) byCursor.set(cursor, [index + 1]);
    else places.push(index + 1);
  }
  const [most, ...others] = [...byCursor].sort(([, a], [, b]) => b.length - a.length);
  let before = most?.[0] ?? NONE;
  let text = `${tag};${before}`;
  for (const [cursor, places] of others) {
    const shared = sharedBy(before, cursor);
    text += `;${places.join(',')}=${shared}:${cursor.slice(shared)}`;
    before = cursor;
  }
  return text;
}

function sharedBy(a: string, b: string): number {
  let shared = 0;
  while (shared < a.length && a[shared] === b[shared]) shared++;
  return shared;
}

/** The cursor of each topic, in their order, as an id says; one cursor counts for all. Throws `bad_cursor`. */
export function readPlaces(id: string, topics: readonly string[]): string[] {
  const [tag, rest, ...items] = id.split(';');
  if (rest === undefined) return topics.map(() => id);
  if (tag !== tagOf(topics))
    throw new ProtocolError(
      'bad_cursor',
      'the id to resume from is of a stream of other topics; send it with the same ones in the same order',
    );
  const cursors: (string | undefined)[] = topics.map(() => undefined);
  let before = rest;
  for (const item of items) {
    const [, places = '', shared = '', suffix = ''] = /^(\d[\d,]*)=(\d{1,6}):(.*)$/.exec(item) ?? [];
    before = before.slice(0, Number(shared)) + suffix;
    for (const place of places.split(',')) {
      const index = Number(place) - 1;
      if (place === '' || index < 0 || index >= topics.length || cursors[index] !== undefined) throw badId();
      cursors[index] = before;
    }
  }
  return cursors.map((cursor) => cursor ?? rest);
}

function badId(): ProtocolError {
  return new ProtocolError(
    'bad_cursor',
    'the id to resume from is not one that this service gave; leave it out to begin anew',
  );
}

function tagOf(topics: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(topics)).digest('base64url').slice(0, 8);
}
