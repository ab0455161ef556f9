/**
 * What passes over one connection: its sources, and messages to be published.
 *
 * The connection is opened when something is wanted, and closed a while after nothing is. Frames name the topic alone, so
 * subscriptions of a topic that begin at cursors of their own, or are not known to be of one topic, need another
 * connection: behind each wire there may be one more, which takes those whom it cannot.
 */
import { type Connection, type ConnectionOptions, createConnection } from './connection.ts';
import { RowcastError } from './error.ts';
import type { ClientStatus, Line, Source } from './line.ts';
import type { Member } from './member.ts';
import { createOutbox, type Target } from './outbox.ts';
import { createSource } from './source.ts';
import { isOpen } from './states.ts';

export interface WireOptions
  extends Pick<ConnectionOptions, 'url' | 'token' | 'WebSocket' | 'numbers' | 'onError'> {
  onStatus(): void;
}

export interface Wire {
  readonly status: ClientStatus;
  add(topic: string, member: Member, since?: string): void;
  remove(member: Member): void;
  publish(target: Target, event: string, payload: unknown): Promise<void>;
  close(): void;
}

const LINGER_MS = 1_000;

export function createWire(options: WireOptions): Wire {
  /** By every spelling of the topic that is known. */
  const byTopic = new Map<string, Source>();
  let count = 0;
  let hasBeenOpen = false;
  let isFlushing = false;
  /** For those whom frames could not tell apart from others here. */
  let beyond: Wire | undefined;
  let lingering: ReturnType<typeof setTimeout> | undefined;

  const connection: Connection = createConnection({
    ...options,
    onState(wasOpen, anew) {
      const { state } = connection;
      hasBeenOpen = isOpen(state) || (hasBeenOpen && state !== 'idle');
      if (wasOpen && !isOpen(state)) {
        for (const source of all()) source.lost();
        outbox.lose(
          new RowcastError({
            code: 'disconnected',
            message: 'connection lost; perhaps published',
          }),
        );
      }
      advance(anew);
      options.onStatus();
    },
    onFrame(frame) {
      const source =
        'id' in frame
          ? all().find(({ id }) => id && id === frame.id)
          : 'topic' in frame
            ? byTopic.get(frame.topic)
            : undefined;
      if (source) source.receive(frame);
      else if (frame.type === 'cursor') for (const one of all()) one.moved(frame.cursor);
      else if (frame.type === 'published') outbox.answer(frame);
      else if (frame.type === 'error') {
        // Nobody knows which frame was not read.
        if (frame.code === 'rate_limited') connection.dispatch('lost');
        else if (!outbox.answer(frame) && frame.code === 'bad_frame')
          options.onError(new RowcastError(frame));
      }
    },
  });
  const outbox = createOutbox(connection.send, options.numbers);

  function all(): Source[] {
    return [...new Set(byTopic.values())];
  }

  /** Does what can be done now. */
  function advance(anew?: boolean): void {
    if (isOpen(connection.state)) outbox.flush();
    for (const source of all()) source.advance(anew);
    if (connection.error) outbox.lose(connection.error, true);
  }

  /** At the end of the turn: who comes and goes within it leaves no trace on the wire. */
  function flushSoon(): void {
    if (isFlushing) return;
    isFlushing = true;
    queueMicrotask(() => {
      isFlushing = false;
      for (const source of all()) if (source.members.size === 0) wire.forget(source);
      advance();
      clearTimeout(lingering);
      if (byTopic.size + outbox.size > 0) connection.dispatch('want');
      else lingering = setTimeout(() => connection.dispatch('unwant'), LINGER_MS);
    });
  }

  const wire: Wire & Line = {
    get status() {
      const { state } = connection;
      if (isOpen(state)) return 'open';
      if (state === 'idle' || state === 'ended' || state === 'closed') return state;
      return hasBeenOpen || state === 'waiting' ? 'offline' : 'connecting';
    },
    get error() {
      return connection.error;
    },
    send: (frame) => connection.send(JSON.stringify(frame)),
    nextId: () => `s${++count}`,
    claim(source, topic) {
      const isFree = (byTopic.get(topic) ?? source) === source;
      if (isFree) byTopic.set(topic, source);
      return isFree;
    },
    forget(source) {
      source.leave();
      for (const [name, one] of byTopic) if (one === source) byTopic.delete(name);
    },
    pass(topic, member, since) {
      beyond ??= createWire({ ...options, onStatus() {} });
      beyond.add(topic, member, since);
    },
    add(topic, member, since) {
      const source = byTopic.get(topic) ?? createSource(topic, wire);
      if (source.add(member, since)) {
        byTopic.set(topic, source);
        flushSoon();
      } else wire.pass(topic, member, since);
    },
    remove(member) {
      for (const source of all()) source.members.delete(member);
      flushSoon();
      beyond?.remove(member);
    },
    publish(target, event, payload) {
      const published = outbox.publish(target, event, payload);
      flushSoon();
      return published.finally(flushSoon);
    },
    close() {
      clearTimeout(lingering);
      connection.close();
      beyond?.close();
    },
  };
  return wire;
}
