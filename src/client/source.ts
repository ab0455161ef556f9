/**
 * A topic on the wire: one subscription there for all that follow it here.
 *
 * It promises each member exactly the changes after the rows or the cursor that it began with. Frames name the topic
 * alone, so on the wire one thing is asked at a time: the rows of one snapshot after the other, in each of which those
 * who have their rows already miss nothing, as all are then brought on from the oldest cursor among them. Those who
 * began with newer rows apply changes that they have already, in silence, and are right again when all is live.
 */
import type {
  ChangeFrame,
  ErrorFrame,
  ResetFrame,
  Row,
  ServerFrame,
  SnapshotFrame,
  SubscribedFrame,
} from '../protocol/server-frame.ts';
import { backoffMs } from './backoff.ts';
import type { Wanted } from './collection.ts';
import { RowcastError } from './error.ts';
import { Followers } from './followers.ts';
import type { Line } from './line.ts';
import type { Member, Status, Transaction } from './member.ts';

/** `off` the wire; `asked` for, unanswered; `catching up`; `live`; `failed`, to be asked for later; `denied`. */
type Phase = 'off' | 'asked' | 'catching up' | 'live' | 'failed' | 'denied';

/** Asking again would be answered in the same way. */
const FINAL = /^(bad|forbidden|limit|unauthorized)/;

export class Source {
  readonly members = new Followers();
  /** Canonical once the service has said it. */
  topic: string;
  /** Where all members are that need no rows. */
  cursor: string | undefined;
  readonly #line: Line<Source>;
  #phase: Phase = 'off';
  #id: string | undefined;
  #wanted: Wanted | undefined;
  #rows: Row[] = [];
  /** What has come of a transaction in several frames. */
  #changes: ChangeFrame['changes'] = [];
  #failures = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #error: RowcastError | undefined;

  constructor(topic: string, line: Line<Source>) {
    this.topic = topic;
    this.#line = line;
  }

  get isLive(): boolean {
    return this.#phase === 'live';
  }

  /** Takes a member, which begins at `since`, with the rows that it needs, or from now on. False where it cannot. */
  add(member: Member, since?: string): boolean {
    if (since !== undefined && since !== this.cursor) {
      if (this.cursor !== undefined || this.#phase !== 'off') return false;
      this.cursor = since;
    }
    // It is not to hear what the others have yet to catch up with.
    const fromNowOn = member.need === undefined && since === undefined;
    member.hearing = fromNowOn && !this.isLive ? 'nothing' : 'all';
    member.topic = this.topic;
    this.members.add(member);
    return true;
  }

  /** Does what is to be done next, if anything is and can be. */
  advance(): void {
    if (this.#phase === 'off' || this.#phase === 'live') {
      const needy = this.members.needy();
      if (this.#phase === 'live' && needy) this.leave();
      if (this.#phase === 'off' && this.#line.status === 'open' && this.members.size > 0)
        this.#ask(needy?.need);
    }
    this.tellStatus();
  }

  /** Ends it on the wire. */
  leave(): void {
    if (this.#id !== undefined) this.#line.send({ type: 'unsubscribe', id: this.#id });
    this.lost();
  }

  /** It is not on the wire any more. */
  lost(): void {
    if (this.#id !== undefined) this.#line.leave(this.#id);
    this.#id = undefined;
    clearTimeout(this.#retry);
    if (this.#phase !== 'denied') this.#phase = 'off';
    this.#rows = [];
    this.#changes = [];
  }

  /** Asks again for what was denied. */
  reconsider(): void {
    if (this.#phase !== 'denied') return;
    this.#phase = 'off';
    this.#error = undefined;
  }

  deny(error: RowcastError): void {
    this.lost();
    this.#phase = 'denied';
    this.#error = error;
    this.tellStatus();
  }

  tellStatus(): void {
    this.members.tell(this.#error, (member) => this.#statusOf(member));
  }

  /** Takes a frame that names its id, or its topic. */
  receive(frame: ServerFrame): void {
    const hears = this.#phase === 'catching up' || this.#phase === 'live';
    if (frame.type === 'subscribed') this.#subscribed(frame);
    else if (frame.type === 'snapshot') this.#snapshot(frame);
    else if (frame.type === 'live') this.#live(frame.cursor);
    else if (frame.type === 'reset') this.#reset(frame);
    else if (frame.type === 'error') this.#failed(frame);
    else if (frame.type === 'change' && hears) this.#change(frame);
    else if (frame.type === 'message' && hears) {
      this.cursor = frame.cursor;
      this.members.each((member) => member.message(frame));
    }
  }

  #subscribed({ topic, cursor }: SubscribedFrame): void {
    if (!this.#line.claim(this, topic)) {
      this.#line.displace(this);
      return;
    }
    this.topic = topic;
    for (const member of this.members) member.topic = topic;
    this.#phase = 'catching up';
    if (this.cursor === undefined && cursor !== undefined) this.#live(cursor);
    else this.tellStatus();
  }

  #snapshot(frame: SnapshotFrame): void {
    for (const row of frame.rows) this.#rows.push(row);
    if (!('cursor' in frame)) return;
    const { limit } = this.#wanted ?? {};
    const rows = this.#rows;
    const complete = limit === undefined || rows.length < limit;
    const begun = [...this.members].filter(({ need }) => need && isSame(need, this.#wanted));
    const alone = !this.members.isAnyPlaced;
    if (alone) this.cursor = frame.cursor;
    this.#rows = [];
    for (const member of begun) {
      member.begin({ rows, complete });
      member.hearing = 'quietly';
    }
    if (alone) this.members.show();
    else this.#askAnew();
  }

  #change(frame: ChangeFrame): void {
    for (const change of frame.changes) this.#changes.push(change);
    if (frame.more) return;
    const transaction: Transaction = { changes: this.#changes, cursor: frame.cursor, at: frame.at };
    this.#changes = [];
    this.cursor = frame.cursor;
    this.members.each((member) => member.take(transaction));
    if (this.isLive) this.advance();
  }

  /** From here on changes come as they are committed. */
  #live(cursor: string): void {
    this.#phase = 'live';
    this.#failures = 0;
    this.members.show();
    this.moved(cursor);
    this.advance();
  }

  #reset({ reason, cursor }: ResetFrame): void {
    this.#changes = [];
    this.members.each((member) => member.reset(reason));
    this.#live(cursor);
  }

  /** Nothing came up to here. */
  moved(cursor: string): void {
    if (!this.isLive || this.#changes.length > 0) return;
    this.cursor = cursor;
    this.members.each((member) => member.moved(cursor));
  }

  #failed({ code, message }: ErrorFrame): void {
    this.lost();
    if (code === 'duplicate_id') this.#line.displace(this);
    else if (code === 'bad_cursor') {
      this.cursor = undefined;
      this.members.each((member) => member.reset('cursor_expired'));
      this.advance();
    } else if (FINAL.test(code)) this.deny(new RowcastError(code, message));
    else {
      this.#phase = 'failed';
      this.#retry = setTimeout(
        () => {
          this.#phase = 'off';
          this.advance();
        },
        backoffMs(this.#failures++),
      );
      this.tellStatus();
    }
  }

  #askAnew(): void {
    this.leave();
    this.advance();
  }

  #ask(need: Wanted | undefined): void {
    this.#id = this.#line.enter(this);
    this.#phase = 'asked';
    this.#wanted = need;
    const { topic, cursor } = this;
    const begin = need
      ? { snapshot: isSame({}, need) || need }
      : cursor === undefined
        ? {}
        : { since: cursor };
    this.#line.send({ type: 'subscribe', id: this.#id, topic, ...begin });
  }

  #statusOf({ need }: Member): Status {
    const { status } = this.#line;
    if (this.#phase === 'denied' || status === 'ended' || status === 'closed') return 'denied';
    if (status !== 'open') return status === 'offline' ? status : 'connecting';
    return this.isLive && need === undefined ? 'live' : 'catching up';
  }
}

function isSame(one: Wanted, other: Wanted | undefined): boolean {
  return other !== undefined && one.order === other.order && one.limit === other.limit;
}
