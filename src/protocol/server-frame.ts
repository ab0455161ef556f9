/**
 * What the server sends, and the way from a frame to its text.
 *
 * It promises that rows, changes and payloads pass through as the text that PostgreSQL
 * made: they are neither parsed nor written again, so numbers keep every digit.
 */
import type { ErrorCode, ProtocolError } from './codes.ts';

/** A row, or part of one, as `to_jsonb` gives it. */
export type Row = Record<string, unknown>;
export type Effect = 'enter' | 'stay' | 'leave';
/** One change as clients see it; `effect` is there on filtered topics alone. */
export type Change =
  | { op: 'insert'; table: string; key: Row; new: Row; effect?: 'enter' }
  | { op: 'update'; table: string; key: Row; new: Row; old: Row; effect?: 'enter' | 'stay' }
  | { op: 'delete'; table: string; key: Row; old: Row }
  | { op: 'update' | 'delete'; table: string; key: Row; effect: 'leave' }
  | { op: 'truncate'; table: string };
export type ResetReason = 'cursor_expired' | 'stream_changed';

export type WelcomeFrame = {
  type: 'welcome';
  protocol: 1;
  session: string;
  user: string | null;
  cursor: string;
  heartbeatMs: number;
};
export type SubscribedFrame = { type: 'subscribed'; id: string; topic: string; cursor?: string };
export type SnapshotFrame = { type: 'snapshot'; id: string; topic: string; rows: Row[] } & (
  | { more: true }
  | { cursor: string }
);
export type LiveFrame = { type: 'live'; id: string; topic: string; cursor: string };
export type ChangeFrame = {
  type: 'change';
  topic: string;
  cursor: string;
  at: string;
  changes: Change[];
  more?: true;
};
export type MessageFrame = {
  type: 'message';
  topic: string;
  cursor: string;
  at: string;
  event: string;
  payload: unknown;
  from: string | null;
};
export type ResetFrame = { type: 'reset'; id: string; topic: string; reason: ResetReason; cursor: string };
export type UnsubscribedFrame = { type: 'unsubscribed'; id: string };
export type AnswerFrame = { type: 'published' | 'authenticated'; id?: string };
export type PongFrame = { type: 'pong'; id?: string; cursor: string };
export type CursorFrame = { type: 'cursor'; cursor: string };
export type ErrorFrame = { type: 'error'; id?: string; code: ErrorCode; message: string };
/** The frames that `encode` writes: those without rows or payloads. */
export type PlainFrame =
  | WelcomeFrame
  | SubscribedFrame
  | LiveFrame
  | ResetFrame
  | UnsubscribedFrame
  | AnswerFrame
  | PongFrame
  | CursorFrame
  | ErrorFrame;
export type ServerFrame = PlainFrame | SnapshotFrame | ChangeFrame | MessageFrame;

/**
 * The `error` frame of a fault; `id` is the request's where the fault does not know it. It says where the connection
 * ends with it.
 */
export function errorFrame(
  error: ProtocolError,
  id: string | undefined = error.id,
  ends = error.close !== undefined,
): ErrorFrame {
  const message = ends ? `${error.message}; this connection ends` : error.message;
  return { type: 'error', ...(id === undefined ? {} : { id }), code: error.code, message };
}

/** The text of a frame that carries neither rows nor a payload. */
export function encode(frame: PlainFrame): string {
  return JSON.stringify(frame);
}

/** What a `change` frame is made of; `changes` are JSON texts in their wire form. */
export type ChangeParts = {
  /** What `changeHead` gives for its topic. */
  head: string;
  cursor: string;
  at: string;
  changes: readonly string[];
  more: boolean;
};

/** What all `change` frames of a topic begin with. */
export function changeHead(topic: string): string {
  return `{"type":"change","topic":${JSON.stringify(topic)},"cursor":"`;
}

/** The text of a `change` frame, its changes taken over as they are. Cursors and times have nothing that JSON escapes. */
export function encodeChange({ head, cursor, at, changes, more }: ChangeParts): string {
  const [first = ''] = changes;
  const all = changes.length > 1 ? changes.join(',') : first;
  return `${head}${cursor}","at":"${at}","changes":[${all}]${more ? ',"more":true}' : '}'}`;
}

/** What a `snapshot` frame is made of; `rows` are JSON texts, and the last frame has the cursor. */
export type SnapshotParts = {
  id: string;
  topic: string;
  rows: readonly string[];
  cursor: string | undefined;
};

/** The text of a `snapshot` frame, its rows taken over as they are; without a cursor it says `more`. */
export function encodeSnapshot({ id, topic, rows, cursor }: SnapshotParts): string {
  const head = `{"type":"snapshot","id":${JSON.stringify(id)},"topic":${JSON.stringify(topic)}`;
  const tail = cursor === undefined ? '"more":true' : `"cursor":${JSON.stringify(cursor)}`;
  return `${head},"rows":[${rows.join(',')}],${tail}}`;
}

/** What a `message` frame is made of; `wire` is JSON: its `event`, `payload` and `from`. */
export type MessageParts = { topic: string; cursor: string; at: string; wire: string };

/** The text of a `message` frame, what the sender gave taken over as it is. */
export function encodeMessage({ topic, cursor, at, wire }: MessageParts): string {
  return `${JSON.stringify({ type: 'message', topic, cursor, at }).slice(0, -1)},${wire}}`;
}
