/**
 * A topic on the wire: one subscription there for all that follow it here.
 *
 * It promises each member exactly the changes after the rows or the cursor that it began with. Frames name the topic
 * alone, so on the wire one thing is asked at a time: the rows of one snapshot after the other, in each of which those
 * who have their rows already miss nothing, as all are then brought on from the oldest cursor among them. Those who
 * began with newer rows apply changes that they have already, in silence, and are right again when all is live.
 */
import type { Change, ResetReason, Row, ServerFrame } from '../protocol/server-frame.ts';
import { backoffMs } from './backoff.ts';
import { ALL, type Beginning, type Wanted } from './collection.ts';
import { RowcastError } from './error.ts';
import type { Line, Source } from './line.ts';
import type { Member, Status } from './member.ts';

/** `off` the wire; `asked` for, unanswered; `catching up`; `live`; `failed`, to be asked for later; `denied`. */
type Phase = 'off' | 'asked' | 'catching up' | 'live' | 'failed' | 'denied';

/** Asking again would be answered in the same way. */
const FINAL = /^(bad|forbidden|limit|unauthorized)/;

/** `topic` is canonical once the service has said it. */
export function createSource(topic: string, line: Line): Source {
  const members = new Set<Member>();
  /** Where all members are that need no rows. */
  let cursor: string | undefined;
  let id: string | undefined;
  let phase: Phase = 'off';
  let wanted: Wanted | undefined;
  let rows: Row[] = [];
  /** What has come of a transaction in several frames. */
  let changes: Change[] = [];
  let failures = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let error: RowcastError | undefined;

  /** Those whom it concerns what comes: they have the rows that they need, and know up to where. */
  function placed(): Member[] {
    return [...members].filter(({ need, hearing }) => !need && hearing !== 'nothing');
  }

  function begin(member: Member, beginning: Beginning): void {
    member.need = undefined;
    member.collection?.begin(beginning);
  }

  /** The first who needs rows, once those whom others can give them have them. */
  function needy(): Member | undefined {
    const [first] = [...members].filter((member) => {
      const { need } = member;
      if (!need) return false;
      for (const other of placed()) {
        const offered = other.hearing === 'all' && other.collection?.offer(need);
        if (!offered) continue;
        begin(member, offered);
        member.show();
        return false;
      }
      return true;
    });
    return first;
  }

  function advance(anew?: boolean): void {
    if (anew && phase === 'denied') {
      phase = 'off';
      error = undefined;
    }
    if (phase === 'off' || phase === 'live') {
      const need = needy()?.need;
      if (phase === 'live' && need) leave();
      if (phase === 'off' && line.status === 'open' && members.size > 0) ask(need);
    }
    tellStatus();
  }

  function ask(need: Wanted | undefined): void {
    id = line.nextId();
    phase = 'asked';
    wanted = need;
    line.send({
      type: 'subscribe',
      id,
      topic,
      snapshot: need,
      since: need ? undefined : cursor,
    });
  }

  function leave(): void {
    if (id) line.send({ type: 'unsubscribe', id });
    lost();
  }

  function lost(): void {
    id = undefined;
    clearTimeout(retry);
    if (phase !== 'denied') phase = 'off';
    rows = [];
    changes = [];
  }

  function tellStatus(): void {
    for (const member of members) {
      const why = error ?? line.error;
      const status = why ? 'denied' : statusOf(member);
      if (status === member.status && why === member.error) continue;
      member.status = status;
      member.error = why;
      member.statusChanged();
    }
  }

  function statusOf({ need }: Member): Status {
    const { status } = line;
    if (status === 'open') return phase === 'live' && !need ? phase : 'catching up';
    return status === 'offline' ? status : 'connecting';
  }

  function receive(frame: ServerFrame): void {
    const hears = phase === 'catching up' || phase === 'live';
    if (frame.type === 'subscribed') {
      if (!line.claim(source, frame.topic)) {
        pass();
        return;
      }
      topic = frame.topic;
      for (const member of members) member.topic = topic;
      phase = 'catching up';
      if (!cursor && frame.cursor) live(frame.cursor);
      else tellStatus();
    } else if (frame.type === 'snapshot') {
      for (const row of frame.rows) rows.push(row);
      if ('cursor' in frame) begun(frame.cursor);
    } else if (frame.type === 'live') live(frame.cursor);
    else if (frame.type === 'reset') {
      changes = [];
      reset(frame.reason);
      live(frame.cursor);
    } else if (frame.type === 'error') {
      lost();
      if (frame.code === 'duplicate_id') pass();
      else if (frame.code === 'bad_cursor') {
        cursor = undefined;
        reset('cursor_expired');
        advance();
      } else failed(new RowcastError(frame));
    } else if (frame.type === 'change' && hears) {
      for (const change of frame.changes) changes.push(change);
      if (frame.more) return;
      cursor = frame.cursor;
      const transaction = { changes, cursor, at: frame.at };
      changes = [];
      for (const member of placed()) member.take(transaction);
      if (phase === 'live') advance();
    } else if (frame.type === 'message' && hears) {
      cursor = frame.cursor;
      for (const member of placed()) member.message?.(frame);
    }
  }

  /** Frames could not tell it from another one. */
  function pass(): void {
    line.forget(source);
    for (const member of members) line.pass(topic, member, member.need ? undefined : cursor);
  }

  /** All rows are there. */
  function begun(at: string): void {
    const complete = rows.length < (wanted?.limit ?? ALL);
    const alone = placed().length === 0;
    for (const member of members) {
      const { need } = member;
      if (!need || need.order !== wanted?.order || need.limit !== wanted?.limit) continue;
      begin(member, { rows, complete });
      member.hearing = 'quietly';
    }
    rows = [];
    if (alone) {
      cursor = at;
      show();
    } else {
      leave();
      advance();
    }
  }

  /** What has come is right: shows it, to those too who waited for that. */
  function show(): void {
    for (const member of members) if (!member.need) member.hearing = 'all';
    for (const member of placed()) member.show();
  }

  function reset(reason: ResetReason): void {
    for (const member of placed()) member.reset(reason);
  }

  /** From here on changes come as they are committed. */
  function live(at: string): void {
    phase = 'live';
    failures = 0;
    show();
    moved(at);
    advance();
  }

  function moved(at: string): void {
    if (phase !== 'live') return;
    cursor = at;
    for (const member of placed()) member.moved?.(at);
  }

  function failed(why: RowcastError): void {
    const isFinal = FINAL.test(why.code);
    phase = isFinal ? 'denied' : 'failed';
    if (isFinal) error = why;
    else
      retry = setTimeout(() => {
        phase = 'off';
        advance();
      }, backoffMs(failures++));
    tellStatus();
  }

  const source: Source = {
    members,
    get id() {
      return id;
    },
    add(member, since) {
      if (since !== undefined && since !== cursor) {
        if (cursor || phase !== 'off') return false;
        cursor = since;
      }
      // It is not to hear what the others have yet to catch up with.
      member.hearing = member.need || since !== undefined || phase === 'live' ? 'all' : 'nothing';
      member.topic = topic;
      members.add(member);
      return true;
    },
    advance,
    leave,
    lost,
    receive,
    moved,
  };
  return source;
}
