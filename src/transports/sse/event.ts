/**
 * Events: frames as Server-Sent Events, in the text that WHATWG's rules read.
 *
 * It promises that `data` is the frame, whatever its sender's payload holds: JSON may have line breaks between its
 * tokens, and they stay line breaks.
 */
import { eachMember, stringOf } from '../../matching/scan.ts';

/** What the stream needs to know of a frame. */
export interface Head {
  readonly type: string;
  readonly id?: string;
  readonly topic?: string;
  readonly cursor?: string;
  readonly code?: string;
  readonly message?: string;
}

/** A frame that many may be sent: `body` is the same for all of them, its `id` is not. */
export interface FrameEvent {
  readonly head: Head;
  readonly body: Buffer;
}

/** What a comment keeps open. */
export const KEEP_ALIVE = Buffer.from(':\n\n');

/** Nothing that follows the cursor of these concerns us, and it may be long. */
const CURSOR_COMES_EARLY = new Set(['change', 'message']);
const READ = new Set(['type', 'id', 'topic', 'cursor', 'code', 'message']);

export function eventOf(frame: string): FrameEvent {
  const head = headOf(frame);
  const data = /[\r\n]/.test(frame) ? frame.replaceAll(/\r\n|\r|\n/g, '\ndata: ') : frame;
  return { head, body: Buffer.from(`event: ${head.type}\ndata: ${data}\n\n`) };
}

/** Reads no more of the frame's text than it must. */
function headOf(frame: string): Head {
  const read: Record<string, string> = {};
  eachMember(frame, 0, (name, start, end) => {
    const value = READ.has(name) ? stringOf(frame.slice(start, end)) : undefined;
    if (value !== undefined) read[name] = value;
    return !(name === 'cursor' && CURSOR_COMES_EARLY.has(read['type'] ?? ''));
  });
  const { type = '', ...rest } = read;
  return { type, ...rest };
}

export function idLine(id: string): Buffer {
  return Buffer.from(`id: ${id}\n`);
}

/** When a browser comes back after the stream has ended. */
export function retryLine(ms: number): string {
  return `retry: ${Math.round(ms)}\n`;
}

/** For people who read the stream. */
export function commentLine(text: string): string {
  return `: ${text.replaceAll(/[\r\n]+/g, ' ')}\n`;
}
