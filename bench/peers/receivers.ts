/**
 * Many WebSocket clients as cheap as they can be: they subscribe, and count frames without looking into them.
 *
 * Arguments: the server's port, the frame to subscribe with.
 */
import { connect } from 'node:net';
import { clockMs } from '../rig/clock.ts';
import { answer } from '../rig/peer.ts';

const [port = '', subscribe = ''] = process.argv.slice(2);
const AT_ONCE = 100;
/** The welcome and the answer to the subscription. */
const FRAMES_BEFORE = 2;

const REQUEST = [
  'GET /ws HTTP/1.1',
  'Host: 127.0.0.1',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  '\r\n',
].join('\r\n');
const HEAD_END = '\r\n\r\n';
const [TEXT, PING, PONG] = [1, 9, 10];
const SUBSCRIBE = clientFrame(TEXT, subscribe);
const NO_PAYLOAD = clientFrame(PONG, '');
const NONE = Buffer.alloc(0);

/** All sockets read into this one: what it holds is counted before the next one reads. */
const shared = Buffer.allocUnsafe(256 * 1024);
let frames = 0;
let lastMs = 0;
let waiting: { frames: number; resolve(): void } | undefined;

/** Takes the bytes of one connection, and tells of each frame that is complete. */
class FrameReader {
  readonly #onFrame: (opcode: number) => void;
  #head = NONE;
  #inHttp = true;
  #opcode = 0;
  #left = 0;

  constructor(onFrame: (opcode: number) => void) {
    this.#onFrame = onFrame;
  }

  take(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, bytes.length - at);
        this.#left -= step;
        at += step;
        if (this.#left > 0) return;
      } else {
        // Heads are rarely cut in two, so putting them together may cost.
        const rest = this.#head.length === 0 ? bytes.subarray(at) : Buffer.concat([this.#head, bytes]);
        const used = this.#inHttp ? httpHead(rest) : this.#frameHead(rest);
        if (used === 0) {
          this.#head = Buffer.from(rest);
          return;
        }
        at += used - this.#head.length;
        this.#head = NONE;
        if (this.#inHttp || this.#left > 0) {
          this.#inHttp = false;
          continue;
        }
      }
      this.#onFrame(this.#opcode);
    }
  }

  /** The size of the head, 0 where it is cut short. */
  #frameHead(bytes: Buffer): number {
    const short = (bytes[1] ?? 0) & 0x7f;
    const size = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < size) return 0;
    this.#opcode = (bytes[0] ?? 0) & 0x0f;
    this.#left = size === 2 ? short : size === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    return size;
  }
}

function httpHead(bytes: Buffer): number {
  const end = bytes.indexOf(HEAD_END);
  return end < 0 ? 0 : end + HEAD_END.length;
}

/** Connects one client; resolves when it is subscribed. */
function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    let early = 0;
    const reader = new FrameReader((opcode) => {
      if (opcode === PING) socket.write(NO_PAYLOAD);
      if (opcode !== TEXT) return;
      if (early === FRAMES_BEFORE) frames++;
      else if (++early === FRAMES_BEFORE) resolve();
      else socket.write(SUBSCRIBE);
    });
    const socket = connect({
      host: '127.0.0.1',
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: shared,
        callback(length, buffer) {
          reader.take(Buffer.from(buffer.buffer, buffer.byteOffset, length));
          lastMs = clockMs();
          if (waiting !== undefined && frames >= waiting.frames) waiting.resolve();
          return true;
        },
      },
    });
    socket.on('connect', () => socket.write(REQUEST));
    socket.on('error', reject);
    // A client that is cut misses frames: whoever waits for them must not wait for ever.
    socket.on('close', () => process.exit(1));
  });
}

/** A short frame of a client, masked with zeros, which leaves it as it is. */
function clientFrame(opcode: number, text: string): Buffer {
  const payload = Buffer.from(text);
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

answer({
  /** Connects so many more. */
  async connect(count = 0) {
    for (let left = count; left > 0; left -= AT_ONCE) {
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, left) }, open));
    }
    return [];
  },
  /** Counts from nought. */
  mark() {
    frames = 0;
    return [];
  },
  /** Waits until so many frames were counted; gives how many were, and when the last one came. */
  async until(count = 0) {
    if (frames < count) await new Promise<void>((resolve) => (waiting = { frames: count, resolve }));
    waiting = undefined;
    return [frames, lastMs];
  },
});
