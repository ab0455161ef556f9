/**
 * A track: one subscription on its way to live, and how far it has come.
 *
 * It owns the subscription's position, and turns commits into its frames. It promises that each frame's cursor says
 * exactly what its client has got with it, so that a client which leaves in the middle goes on where it was.
 */
import { linesIn, type Page } from '../commit.ts';
import { readCursor, spellCursor } from '../position/cursor.ts';
import { type Position, withPartial } from '../position.ts';
import { changeHead, encodeChange, encodeMessage } from '../protocol.ts';
import type { Select } from '../router.ts';
import type { CatchUpClient } from '../session/host.ts';
import type { Subscription } from '../session/subscriptions.ts';
import type { Topic } from '../topic.ts';

export class Track {
  readonly client: CatchUpClient;
  readonly subscription: Subscription;
  readonly topic: Topic;
  readonly stream: string;
  readonly #select: Select;
  /** What its frames of changes begin with. */
  readonly #head: string;
  /** Null where it is read from the cursor when it is asked for. */
  #position: Position | null;
  /** How many commits it has gone past. */
  commits = 0;
  /** What it has sent, in characters. */
  sent = 0;
  /** The spelling that the client has of the position; null where it has none yet. */
  #cursor: string | null;
  /** What earlier pages of the commit had, until it is known whether more follows. */
  #held: string[] = [];

  constructor(
    client: CatchUpClient,
    subscription: Subscription,
    topic: Topic,
    select: Select,
    start: { stream: string; position: Position; cursor: string | null },
  ) {
    this.client = client;
    this.subscription = subscription;
    this.topic = topic;
    this.#select = select;
    this.#head = changeHead(topic);
    this.stream = start.stream;
    this.#position = start.position;
    this.#cursor = start.cursor;
  }

  get ended(): boolean {
    return this.subscription.hasEnded;
  }

  get position(): Position {
    this.#position ??= readCursor(this.cursor).position;
    return this.#position;
  }

  get cursor(): string {
    this.#cursor ??= spellCursor(this.stream, this.position);
    return this.#cursor;
  }

  /** Moves on without a word: what lies between does not concern the topic. */
  moveTo(position: Position): void {
    this.#position = position;
    this.#cursor = null;
  }

  /**
   * Sends what a page of a commit has for the topic. `offset` is how many lines of the commit came before it;
   * `whole` gives the position after the commit, and `cursor` its spelling where that is known: then it is not made.
   */
  take(
    page: Omit<Page, 'cursor'>,
    offset: number,
    whole: (base: Position) => Position,
    cursor: string | null = null,
  ): void {
    // Where the cursor alone is known, it is one between two commits.
    const partial = this.#position?.partial ?? null;
    const known = partial?.xid === page.xid ? partial.lines - offset : 0;
    const fresh: string[] = [];
    for (const change of known > 0 ? page.changes.slice(known) : page.changes) {
      const wire = this.#select(change);
      if (wire !== undefined) fresh.push(wire);
    }
    if (fresh.length > 0) {
      if (this.#held.length > 0) this.#send(page.at, true);
      this.#held = fresh;
    }
    if (page.last) {
      if (cursor === null) this.moveTo(whole(withPartial(this.position, null)));
      else {
        this.#position = null;
        this.#cursor = cursor;
      }
      this.commits++;
    } else {
      const lines = Math.max(offset + linesIn(page), known + offset);
      this.moveTo(withPartial(this.position, { xid: page.xid, lines }));
    }
    if (!page.changesFollow && this.#held.length > 0) this.#send(page.at, false);
    const message = page.message !== null && known <= page.changes.length && this.#select(page.message);
    if (message)
      this.#put(encodeMessage({ topic: this.topic, cursor: this.cursor, at: page.at, wire: message }));
  }

  #send(at: string, more: boolean): void {
    this.#put(encodeChange({ head: this.#head, cursor: this.cursor, at, changes: this.#held, more }));
    this.#held = [];
  }

  #put(frame: string): void {
    this.client.send(frame);
    this.sent += frame.length;
  }
}
