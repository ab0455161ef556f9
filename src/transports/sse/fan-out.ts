/**
 * The fan-out: what is published, to the streams that are subscribed to it. (The WebSockets' own is uWebSockets.js's.)
 *
 * It promises that a frame is encoded once for all its streams, and that one which no stream wants costs one look.
 */
import { HEARTBEAT_TOPIC } from '../../session/socket.ts';
import { eventOf, type FrameEvent } from './event.ts';
import type { Settled } from './places.ts';

/** A stream. */
export interface Receiver {
  deliver(event: FrameEvent): void;
}

export interface FanOut {
  /** To every stream that is subscribed to the topic. */
  publish(topic: string, frame: string): void;
  /** All that came up to this cursor was published. */
  settle(cursor: string): void;
  readonly settled: Settled;
  add(topic: string, receiver: Receiver): void;
  remove(topic: string, receiver: Receiver): void;
  /** Topics that streams are subscribed to. */
  readonly topics: number;
}

export function createFanOut(): FanOut {
  const byTopic = new Map<string, Set<Receiver>>();
  let settled: Settled = { cursor: '', generation: 0 };

  function settle(cursor: string): void {
    settled = { cursor, generation: settled.generation + 1 };
  }

  return {
    get settled() {
      return settled;
    },
    get topics() {
      return byTopic.size;
    },
    publish(topic, frame) {
      const receivers = byTopic.get(topic);
      if (receivers === undefined) return;
      const event = eventOf(frame);
      // It comes between two commits.
      if (topic === HEARTBEAT_TOPIC && event.head.cursor !== undefined) settle(event.head.cursor);
      for (const receiver of receivers) receiver.deliver(event);
    },
    settle,
    add(topic, receiver) {
      const receivers = byTopic.get(topic);
      if (receivers === undefined) byTopic.set(topic, new Set([receiver]));
      else receivers.add(receiver);
    },
    remove(topic, receiver) {
      const receivers = byTopic.get(topic);
      receivers?.delete(receiver);
      if (receivers?.size === 0) byTopic.delete(topic);
    },
  };
}
