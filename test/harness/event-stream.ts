/** A client of Server-Sent Events: a parser after the rules of WHATWG, and a stream that a test reads. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Frame } from './socket.ts';

/** What an `EventSource` would dispatch; `id` is the last event id that it keeps then. */
export interface StreamEvent {
  readonly type: string;
  readonly data: string;
  readonly id: string;
}

export interface EventParser {
  /** Takes the stream's text as it comes, in pieces of any size. */
  take(text: string): void;
  readonly events: readonly StreamEvent[];
  /** The texts of comments. */
  readonly comments: readonly string[];
  readonly lastEventId: string;
  readonly retryMs: number | undefined;
}

/** As "9.2.6 Interpreting an event stream" of the HTML standard says. Throws on a field that it would ignore. */
export function createEventParser(): EventParser {
  const events: StreamEvent[] = [];
  const comments: string[] = [];
  let rest = '';
  let [data, type, idBuffer, lastEventId] = ['', '', '', ''];
  let retryMs: number | undefined;

  function dispatch(): void {
    lastEventId = idBuffer;
    if (data !== '') events.push({ type: type || 'message', data: data.slice(0, -1), id: lastEventId });
    data = '';
    type = '';
  }

  function takeLine(line: string): void {
    if (line === '') {
      dispatch();
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) {
      comments.push(line.slice(1));
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') type = value;
    else if (field === 'data') data += `${value}\n`;
    else if (field === 'id' && !value.includes('\0')) idBuffer = value;
    else if (field === 'retry' && /^\d+$/.test(value)) retryMs = Number(value);
    else throw new Error(`a browser would ignore the line ${JSON.stringify(line)}`);
  }

  return {
    events,
    comments,
    get lastEventId() {
      return lastEventId;
    },
    get retryMs() {
      return retryMs;
    },
    take(text) {
      rest += text;
      for (;;) {
        // A carriage return at the very end may be the half of a line's end.
        const end = /\r\n|\n|\r(?!$)/.exec(rest);
        if (end === null) return;
        takeLine(rest.slice(0, end.index));
        rest = rest.slice(end.index + end[0].length);
      }
    },
  };
}

export interface EventStream extends Pick<EventParser, 'events' | 'comments' | 'lastEventId' | 'retryMs'> {
  readonly response: Response;
  /** What came, as frames. */
  readonly frames: readonly Frame[];
  /** The first frame of that type that was not handed out before; waits for it if need be. */
  next(type: string, predicate?: (frame: Frame) => boolean): Promise<Frame>;
  /** Resolves when the stream ends, by whoever. */
  readonly ended: Promise<void>;
  readonly hasEnded: boolean;
  close(): Promise<void>;
}

const TIMEOUT_MS = 10_000;

/** Opens a stream; what is no 200 is given with no event. It is cut where `upTo` gives less than the text that came. */
export async function openEventStream(
  url: string,
  {
    headers = {},
    upTo = (text) => text.length,
  }: { headers?: Record<string, string>; upTo?: (text: string) => number } = {},
): Promise<EventStream> {
  const abort = new AbortController();
  const response = await fetch(url, {
    headers: { Accept: 'text/event-stream', ...headers },
    signal: abort.signal,
  });
  const parser = createEventParser();
  const frames: Frame[] = [];
  const taken = new Set<Frame>();
  const waiting = new Set<() => void>();
  let hasEnded = false;

  async function read(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body ?? []) {
        const text = decoder.decode(chunk, { stream: true });
        const length = upTo(text);
        parser.take(text.slice(0, length));
        for (const event of parser.events.slice(frames.length)) frames.push(frameOf(event));
        for (const look of [...waiting]) look();
        if (length < text.length) break;
      }
    } catch (error) {
      if (!abort.signal.aborted && !isCut(error)) throw error;
    } finally {
      hasEnded = true;
      for (const look of [...waiting]) look();
    }
  }
  const ended = response.status === 200 ? read() : Promise.resolve();

  return {
    response,
    frames,
    ended,
    events: parser.events,
    comments: parser.comments,
    get lastEventId() {
      return parser.lastEventId;
    },
    get retryMs() {
      return parser.retryMs;
    },
    get hasEnded() {
      return hasEnded;
    },
    async next(type, predicate = () => true) {
      const timeout = new AbortController();
      const find = () => frames.find((one) => one.type === type && !taken.has(one) && predicate(one));
      const found = new Promise<void>((resolve) => {
        const look = () => {
          if (find() === undefined && !hasEnded) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      });
      await Promise.race([found, delay(TIMEOUT_MS, undefined, { signal: timeout.signal }).catch(() => {})]);
      timeout.abort();
      const frame = find();
      if (frame === undefined)
        throw new Error(`no frame ${type}; last frames: ${JSON.stringify(frames.slice(-5))}`);
      taken.add(frame);
      return frame;
    },
    async close() {
      abort.abort();
      await ended;
    },
  };
}

function isCut(error: unknown): boolean {
  return error instanceof TypeError && error.message === 'terminated';
}

/** `event` is the frame's type, and `id` its cursor where there is one topic. */
function frameOf({ type, data }: StreamEvent): Frame {
  const frame: unknown = JSON.parse(data);
  if (typeof frame === 'object' && frame !== null && 'type' in frame && frame.type === type)
    return { ...frame, type };
  throw new Error(`the event ${type} carries another frame: ${data}`);
}
