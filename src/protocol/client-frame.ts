/**
 * What a client may send, and the way from its text to a frame.
 *
 * It promises that any text at all gives a frame or a `ProtocolError`, at the cost of
 * one scan and one `JSON.parse`, and that a frame holds the known fields alone.
 */
import { eachMember } from '../matching/scan.ts';
import { ProtocolError } from './codes.ts';

export type SnapshotRequest = { limit?: number; order?: string };
export type SubscribeFrame = {
  type: 'subscribe';
  id: string;
  topic: string;
  since?: string;
  snapshot?: true | SnapshotRequest;
};
export type UnsubscribeFrame = { type: 'unsubscribe'; id: string };
export type PublishTarget = { channel: string } | { user: string };
/** `payload` is JSON, as the client wrote it: its numbers keep every digit. */
export type PublishFrame = { type: 'publish'; id?: string; event: string; payload: string } & PublishTarget;
export type AuthFrame = { type: 'auth'; id?: string; token: string };
export type PingFrame = { type: 'ping'; id?: string };
export type ClientFrame = SubscribeFrame | UnsubscribeFrame | PublishFrame | AuthFrame | PingFrame;

type Fields = Record<string, unknown>;

/** The longest `id` a client may choose, in characters (code points). */
export const MAX_ID_LENGTH = 64;
/** The longest name of a channel, a user or an event, in code points, as PostgreSQL counts. */
export const MAX_NAME_LENGTH = 128;
/** How deep a client's JSON may nest where nothing else is said. */
export const MAX_DEPTH = 64;

/**
 * Reads one text frame of a client. `maxDepth` bounds how deep its JSON may nest; its size is the
 * transport's to bound. Unknown fields are left out. Throws `ProtocolError` with `bad_frame` (or
 * `bad_cursor` for an empty one), carrying the frame's `id` where it had a usable one.
 */
export function parseClientFrame(text: string, limits: { maxDepth?: number } = {}): ClientFrame {
  const fields = readObject(text, limits.maxDepth ?? MAX_DEPTH);
  const { type, id: given } = fields;
  const id = isUsableId(given) ? given : undefined;
  if (given !== undefined && id === undefined) {
    throw badFrame(`"id" must be a string of 1 to ${MAX_ID_LENGTH} characters; it is ${kindOf(given)}`);
  }
  switch (type) {
    case 'subscribe':
      return readSubscribe(fields, requireId(type, id));
    case 'unsubscribe':
      return { type, id: requireId(type, id) };
    case 'publish':
      return readPublish(fields, id, text);
    case 'auth':
      return { type, ...withId(id), token: requireText(fields, 'token', id) };
    case 'ping':
      return { type, ...withId(id) };
  }
  const what =
    typeof type === 'string' ? `${JSON.stringify(type.slice(0, 40))}, which is unknown` : kindOf(type);
  throw badFrame(`"type" must be subscribe, unsubscribe, publish, auth or ping; it is ${what}`, id);
}

function readSubscribe(fields: Fields, id: string): SubscribeFrame {
  const { topic, since, snapshot } = fields;
  if (typeof topic !== 'string') throw badFrame(`"topic" must be a string; it is ${kindOf(topic)}`, id);
  if (since !== undefined && snapshot !== undefined) {
    throw badFrame('"since" and "snapshot" exclude each other; leave one of them out', id);
  }
  if (snapshot !== undefined) return { type: 'subscribe', id, topic, snapshot: readSnapshot(snapshot, id) };
  if (since === undefined) return { type: 'subscribe', id, topic };
  if (typeof since !== 'string') {
    throw badFrame(
      `"since" must be a cursor, a string; it is ${kindOf(since)}; leave it out to start now`,
      id,
    );
  }
  // Let through, an empty cursor would too easily be taken for none, and the gap would be silent.
  if (since === '')
    throw new ProtocolError('bad_cursor', '"since" is empty; leave it out to start now', { id });
  return { type: 'subscribe', id, topic, since };
}

function readSnapshot(snapshot: unknown, id: string): true | SnapshotRequest {
  if (snapshot === true) return true;
  if (!isObject(snapshot)) {
    throw badFrame(
      `"snapshot" must be true or an object with "limit" and "order"; it is ${kindOf(snapshot)}; leave it out for none`,
      id,
    );
  }
  const { limit, order } = snapshot;
  const request: SnapshotRequest = {};
  if (limit !== undefined) {
    if (typeof limit !== 'number' || !Number.isSafeInteger(limit) || limit < 1) {
      throw badFrame(`"snapshot.limit" must be a whole number, 1 or more; it is ${kindOf(limit)}`, id);
    }
    request.limit = limit;
  }
  if (order !== undefined) {
    if (typeof order !== 'string' || order === '') {
      throw badFrame(`"snapshot.order" must be a string such as "id.desc"; it is ${kindOf(order)}`, id);
    }
    request.order = order;
  }
  return request;
}

function readPublish(fields: Fields, id: string | undefined, text: string): PublishFrame {
  const { channel, user } = fields;
  if ((channel === undefined) === (user === undefined)) {
    throw badFrame('"publish" needs either "channel" or "user", and not both', id);
  }
  const target: PublishTarget =
    user === undefined
      ? { channel: requireName(fields, 'channel', id) }
      : { user: requireName(fields, 'user', id) };
  const event = requireName(fields, 'event', id);
  if (!Object.hasOwn(fields, 'payload')) {
    throw badFrame('"publish" needs "payload", any JSON value; send null for nothing', id);
  }
  return { type: 'publish', ...withId(id), ...target, event, payload: rawMember(text, 'payload', fields) };
}

/** Reads what a service publishes: a `publish` frame that need not say so. Throws `bad_frame`. */
export function parsePublication(text: string): PublishFrame {
  return readPublish(readObject(text, MAX_DEPTH), undefined, text);
}

/** A member as it is written; the last of that name, as for JSON.parse. */
function rawMember(text: string, name: string, fields: Fields): string {
  let raw: string | undefined;
  eachMember(text, text.indexOf('{'), (member, start, end) => {
    if (member === name) raw = text.slice(start, end);
    return true;
  });
  // Its name may be written with escapes.
  return raw ?? JSON.stringify(fields[name]);
}

function readObject(text: string, maxDepth: number): Fields {
  if (isTooDeep(text, maxDepth))
    throw badFrame(`the frame nests deeper than ${maxDepth} levels; send it flatter`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // No cause: the parser's message quotes the text, and that may hold a token.
    throw badFrame('the frame is no JSON; send one JSON object a frame, as text');
  }
  if (!isObject(value)) throw badFrame(`the frame must be a JSON object; it is ${kindOf(value)}`);
  return value;
}

/** Looks before JSON.parse builds anything, and without recursion: what comes later may recurse. */
function isTooDeep(text: string, maxDepth: number): boolean {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (quoted) {
      if (char === 0x5c) at++;
      else if (char === 0x22) quoted = false;
    } else if (char === 0x22) quoted = true;
    else if (char === 0x7b || char === 0x5b) {
      if (++depth > maxDepth) return true;
    } else if (char === 0x7d || char === 0x5d) depth--;
  }
  return false;
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isUsableId(value: unknown): value is string {
  if (typeof value !== 'string' || value === '') return false;
  return (
    value.length <= MAX_ID_LENGTH || (value.length <= 2 * MAX_ID_LENGTH && [...value].length <= MAX_ID_LENGTH)
  );
}

function requireId(type: string, id: string | undefined): string {
  if (id === undefined) throw badFrame(`"${type}" needs "id", a string of 1 to ${MAX_ID_LENGTH} characters`);
  return id;
}

function requireText(fields: Fields, name: string, id: string | undefined): string {
  const value = fields[name];
  if (typeof value === 'string' && value !== '') return value;
  throw badFrame(`"${name}" must be a string that is not empty; it is ${kindOf(value)}`, id);
}

function requireName(fields: Fields, name: string, id: string | undefined): string {
  const text = requireText(fields, name, id);
  const { length } = [...text];
  if (length <= MAX_NAME_LENGTH) return text;
  throw badFrame(`"${name}" has ${length} characters; the limit is ${MAX_NAME_LENGTH}`, id);
}

function withId(id: string | undefined): { id?: string } {
  return id === undefined ? {} : { id };
}

function badFrame(message: string, id?: string): ProtocolError {
  return new ProtocolError('bad_frame', message, { id });
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (value === '') return 'empty';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return `a string of ${value.length}`;
  return typeof value === 'object' ? 'an object' : String(value).slice(0, 40);
}
