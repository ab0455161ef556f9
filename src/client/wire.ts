/**
 * What passes over one connection: its sources, and messages to be published.
 *
 * The connection is opened when something is wanted, and closed a while after nothing is.
 */
import type { ErrorFrame, ServerFrame } from '../protocol/server-frame.ts';
import { type Connection, type ConnectionOptions, createConnection, isOpen } from './connection.ts';
import { RowcastError } from './error.ts';
import type { ClientStatus } from './line.ts';
import type { Member } from './member.ts';
import { Outbox, type Target } from './outbox.ts';
import { Source } from './source.ts';

export interface WireOptions
  extends Pick<ConnectionOptions, 'url' | 'token' | 'WebSocket' | 'json' | 'onError'> {
  onStatus(): void;
  /** Finds another connection for a member. */
  displace(member: Member, topic: string, since?: string): void;
}

export interface Wire {
  readonly status: ClientStatus;
  /** False where the member cannot begin at that cursor on this connection. */
  add(topic: string, member: Member, since?: string): boolean;
  remove(member: Member): void;
  publish(target: Target, event: string, payload: unknown): Promise<void>;
  close(): void;
}

const LINGER_MS = 1_000;

export function createWire(options: WireOptions): Wire {
  const { onError } = options;
  /** By the canonical topic, or by another spelling until the service has told that. */
  const byTopic = new Map<string, Source>();
  const byId = new Map<string, Source>();
  /** The canonical topic of each spelling; empty where another source has it. */
  const canonical = new Map<string, string>();
  let count = 0;
  let wasOpen = false;
  let isFlushing = false;
  let lingering: ReturnType<typeof setTimeout> | undefined;

  const connection: Connection = createConnection({
    ...options,
    onState(state) {
      if (isOpen(state)) wasOpen = true;
      finish();
      for (const source of all()) source.tellStatus();
      options.onStatus();
    },
    onOpen(isOtherToken) {
      outbox.flush();
      if (isOtherToken) return reconsider();
      for (const source of all()) source.advance();
    },
    onLost() {
      wasOpen = connection.state === 'waiting';
      for (const source of all()) source.lost();
      outbox.lose(
        new RowcastError(
          'disconnected',
          'the connection was lost before the answer; it may have been published',
        ),
      );
    },
    onRenewed: reconsider,
    onFrame,
  });
  const outbox = new Outbox(connection.send);

  const view = {
    get status() {
      return statusNow();
    },
    send: connection.send,
    enter(source: Source) {
      const id = `s${++count}`;
      byId.set(id, source);
      return id;
    },
    leave: (id: string) => void byId.delete(id),
    claim(source: Source, topic: string) {
      if (source.topic === topic) return true;
      if (byTopic.has(topic)) return false;
      canonical.set(source.topic, topic);
      byTopic.delete(source.topic);
      byTopic.set(topic, source);
      return true;
    },
    displace(source: Source) {
      source.leave();
      byTopic.delete(source.topic);
      canonical.set(source.topic, '');
      for (const member of source.members)
        options.displace(member, source.topic, member.need === undefined ? source.cursor : undefined);
    },
  };

  function all(): Source[] {
    return [...byTopic.values()];
  }

  /** Tells everyone where no connection will come any more. */
  function finish(): void {
    const { state } = connection;
    if (state !== 'ended' && state !== 'closed') return;
    const error = state === 'ended' ? connection.error : new RowcastError('closed', 'the client was closed');
    outbox.lose(error, true);
    for (const source of all()) source.deny(error);
  }

  function statusNow(): ClientStatus {
    const { state } = connection;
    if (state === 'idle' || state === 'ended' || state === 'closed') return state;
    if (isOpen(state)) return 'open';
    return wasOpen || state === 'waiting' ? 'offline' : 'connecting';
  }

  function reconsider(): void {
    for (const source of all()) {
      source.reconsider();
      source.advance();
    }
  }

  function onFrame(frame: ServerFrame): void {
    const source =
      'id' in frame ? byId.get(frame.id ?? '') : 'topic' in frame ? byTopic.get(frame.topic) : undefined;
    if (source !== undefined) source.receive(frame);
    else if (frame.type === 'cursor') for (const one of all()) one.moved(frame.cursor);
    else if (frame.type === 'published') outbox.answer(frame);
    else if (frame.type === 'error') fault(frame);
  }

  function fault(frame: ErrorFrame): void {
    // Nobody knows which frame was not read.
    if (frame.code === 'rate_limited') connection.backOff();
    else if (!outbox.answer(frame) && frame.code === 'bad_frame')
      onError(new RowcastError(frame.code, frame.message));
  }

  /** At the end of the turn: who comes and goes within it leaves no trace on the wire. */
  function flushSoon(): void {
    if (isFlushing) return;
    isFlushing = true;
    queueMicrotask(() => {
      isFlushing = false;
      for (const source of all()) {
        if (source.members.size === 0) {
          source.leave();
          byTopic.delete(source.topic);
        } else source.advance();
      }
      finish();
      clearTimeout(lingering);
      if (byTopic.size > 0 || !outbox.isEmpty) connection.want(true);
      else lingering = setTimeout(() => connection.want(false), LINGER_MS);
    });
  }

  return {
    get status() {
      return statusNow();
    },
    add(topic, member, since) {
      const name = canonical.get(topic) ?? topic;
      const source = byTopic.get(name) ?? new Source(name, view);
      if (name === '' || !source.add(member, since)) return false;
      byTopic.set(name, source);
      flushSoon();
      return true;
    },
    remove(member) {
      for (const source of all()) source.members.delete(member);
      flushSoon();
    },
    publish(target, event, payload) {
      const published = outbox.publish(target, event, payload, isOpen(connection.state));
      flushSoon();
      return published.finally(flushSoon);
    },
    close() {
      clearTimeout(lingering);
      connection.close();
    },
  };
}
