/** A WebSocket client that keeps every frame and waits for those that a test expects. */
import { once } from 'node:events';
import { type ClientOptions, WebSocket } from 'ws';

const TIMEOUT_MS = 10_000;

/** A frame of the server, read only as far as its type. */
export type Frame = { type: string } & Record<string, unknown>;

/** A connected client. */
export interface Socket {
  /** All frames that came, in order, and the very texts of them. */
  readonly frames: readonly Frame[];
  readonly texts: readonly string[];
  /** The sub-protocol that the server took. */
  readonly protocol: string;
  /** The first frame of that type that was not handed out before; waits for it if need be. */
  next(type: string, predicate?: (frame: Frame) => boolean, timeoutMs?: number): Promise<Frame>;
  send(frame: object): void;
  sendRaw(data: string | Uint8Array): void;
  /** How it ended, on either side's wish. */
  readonly closed: Promise<{ code: number; reason: string }>;
  /** Closes it and waits for the end. */
  close(code?: number, reason?: string): Promise<void>;
  /** Drops the connection without a word. */
  terminate(): void;
  /** Reads nothing more from the connection, and reads again. */
  pause(): void;
  resume(): void;
}

/** Connects; rejects when the handshake is refused, with the status in the message. */
export async function connect(
  url: string,
  { protocols = [], headers = {} }: { protocols?: string[]; headers?: Record<string, string> } = {},
): Promise<Socket> {
  const options: ClientOptions = { headers, perMessageDeflate: false };
  const socket = new WebSocket(url, protocols, options);
  const frames: Frame[] = [];
  const texts: string[] = [];
  const taken = new Set<Frame>();
  const waiting = new Set<() => void>();
  let ended: { code: number; reason: string } | undefined;

  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => {
      ended = { code, reason: reason.toString() };
      for (const look of [...waiting]) look();
      resolve(ended);
    });
  });
  socket.on('message', (data) => {
    const text = data.toString();
    texts.push(text);
    frames.push(parse(text));
    for (const look of [...waiting]) look();
  });
  await once(socket, 'open');
  // From here on an error is followed by 'close', which tells its code.
  socket.on('error', () => undefined);

  function next(
    type: string,
    predicate: (frame: Frame) => boolean = () => true,
    timeoutMs = TIMEOUT_MS,
  ): Promise<Frame> {
    return new Promise((resolve, reject) => {
      function settle(): void {
        clearTimeout(timer);
        waiting.delete(look);
      }
      function fail(why: string): void {
        settle();
        reject(new Error(`${why}, no frame ${type}; last frames: ${texts.slice(-5).join(' ')}`));
      }
      function look(): void {
        const frame = frames.find((one) => one.type === type && !taken.has(one) && predicate(one));
        if (frame !== undefined) {
          taken.add(frame);
          settle();
          resolve(frame);
        } else if (ended !== undefined) {
          fail(`closed with ${ended.code} ${ended.reason}`);
        }
      }
      const timer = setTimeout(() => fail(`after ${timeoutMs} ms`), timeoutMs);
      waiting.add(look);
      look();
    });
  }

  return {
    frames,
    texts,
    protocol: socket.protocol,
    next,
    send: (frame) => socket.send(JSON.stringify(frame)),
    sendRaw: (data) => socket.send(data),
    closed,
    async close(code = 1000, reason = '') {
      socket.close(code, reason);
      await closed;
    },
    terminate: () => socket.terminate(),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
  };
}

function parse(text: string): Frame {
  const frame: unknown = JSON.parse(text);
  if (!isFrame(frame)) throw new Error(`the server sent no frame: ${text}`);
  return frame;
}

function isFrame(value: unknown): value is Frame {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}
