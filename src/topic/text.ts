/**
 * The letters of a topic: percent-encoding, and the error that names what was wrong.
 *
 * It promises that `decode` undoes `encode`, whatever the text.
 */
import { ProtocolError } from '../protocol.ts';

/** What is reserved depends on where it stands; control characters are reserved everywhere. */
export const RESERVED = {
  name: /[\p{Cc}%.:,?&=#@]/gu,
  channel: /[\p{Cc}%?]/gu,
  value: /[\p{Cc}%&]/gu,
  pattern: /[\p{Cc}%&*]/gu,
  item: /[\p{Cc}%&,()"]/gu,
} as const;

/** Percent-encodes what is reserved, and nothing else. */
export function encode(text: string, reserved: RegExp): string {
  return text.replace(reserved, escapeOf);
}

/** Undoes every percent-escape; `where` names the place in the error. */
export function decode(text: string, where: string): string {
  const decoded = text.includes('%') ? unescapeAll(text, where) : text;
  if (decoded.includes('\0')) throw badTopic(`${where} holds a NUL character, which PostgreSQL cannot store`);
  return decoded;
}

function unescapeAll(text: string, where: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw badTopic(`${where} ${shown(text)} holds a % that begins no UTF-8 escape; write % as %25`, cause);
  }
}

/** The percent-escape of one character. */
export function escapeOf(char: string): string {
  const code = char.charCodeAt(0);
  if (code > 0x7f) return encodeURIComponent(char);
  return `%${code.toString(16).toUpperCase().padStart(2, '0')}`;
}

/** The text before the first `mark` and the text after it, which is undefined where there is none. */
export function cut(text: string, mark: string): [before: string, after: string | undefined] {
  const at = text.indexOf(mark);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + mark.length)];
}

/** The order of everything sorted in a topic: by code unit, the same in every locale. */
export function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** A decoded name. Throws where it is empty, or holds a reserved character unencoded. */
export function parseName(text: string, where: string): string {
  const bare = text.match(RESERVED.name)?.find((char) => char !== '%');
  if (bare !== undefined) {
    throw badTopic(
      `${where} ${shown(text)} holds the reserved ${shown(bare)}; in a name write ${escapeOf(bare)}`,
    );
  }
  if (text === '')
    throw badTopic(`${where} has no name; write [schema.]name[:op,op][?column=operator.value]`);
  return decode(text, where);
}

/** A client's text as an error quotes it. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

export function badTopic(message: string, cause?: unknown): ProtocolError {
  return new ProtocolError('bad_topic', message, cause === undefined ? {} : { cause });
}
