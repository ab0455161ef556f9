/** One WebSocket client on a bare socket, as cheap as it can be, which sees what its frames say. */
import { connect } from 'node:net';

export interface Client {
  /** Sends a text frame. */
  send(text: string): void;
  /** Breaks the connection off, as a network does: nothing of it stays on this side. */
  leave(): void;
}

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
const SWITCHING = 101;
const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10];
const NONE = Buffer.alloc(0);
/** The code of a connection that ended without one. */
const ABNORMAL = 1006;

/** All sockets read into this one: what it holds is taken before the next one reads. */
const shared = Buffer.allocUnsafe(256 * 1024);

/**
 * Connects. Each text frame is handed on as bytes that hold for that call alone. Of a connection that ends in another
 * way than by `leave`, `onEnd` gets the close code, or the status of HTTP where there was no handshake. Without it that
 * ends the process: whoever waits for frames must not wait for ever.
 */
export function openClient(
  port: number,
  onText: (text: Buffer) => void,
  onEnd: (code: number, why: string) => void = fail,
  host = '127.0.0.1',
): Client {
  let inHttp = true;
  let rest: Buffer = NONE;
  let left = false;

  /** Takes what is complete; gives how much that was. */
  function take(bytes: Buffer): number {
    let at = 0;
    if (inHttp) {
      const end = bytes.indexOf(HEAD_END);
      if (end < 0) return 0;
      inHttp = false;
      at = end + HEAD_END.length;
      const status = Number(bytes.toString('latin1', 'HTTP/1.1 '.length, 'HTTP/1.1 101'.length));
      if (status !== SWITCHING) {
        ended(status, `HTTP ${status}`);
        socket.destroy();
      }
    }
    while (!left && bytes.length - at >= 2) {
      const short = (bytes[at + 1] ?? 0) & 0x7f;
      const head = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length - at < head) break;
      const size =
        head === 2 ? short : head === 4 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
      const end = at + head + size;
      if (end > bytes.length) break;
      const opcode = (bytes[at] ?? 0) & 0x0f;
      if (opcode === TEXT) onText(bytes.subarray(at + head, end));
      if (opcode === PING) socket.write(clientFrame(PONG, ''));
      if (opcode === CLOSE)
        ended(size >= 2 ? bytes.readUInt16BE(at + head) : ABNORMAL, 'the server closed it');
      at = end;
    }
    return at;
  }

  const socket = connect({
    host,
    port,
    noDelay: true,
    onread: {
      buffer: shared,
      callback(length) {
        const fresh = shared.subarray(0, length);
        const bytes = rest.length === 0 ? fresh : Buffer.concat([rest, fresh]);
        const taken = take(bytes);
        rest = taken === bytes.length ? NONE : Buffer.from(bytes.subarray(taken));
        return true;
      },
    },
  });
  socket.on('connect', () => socket.write(REQUEST));
  socket.on('error', (error) => ended(ABNORMAL, error.message));
  socket.on('close', () => ended(ABNORMAL, 'the server closed it'));

  /** What is left of the connection goes when the server takes it down, as it is about to. */
  function ended(code: number, why: string): void {
    if (left) return;
    left = true;
    onEnd(code, why);
  }

  return {
    send: (text) => socket.write(clientFrame(TEXT, text)),
    leave() {
      left = true;
      socket.resetAndDestroy();
    },
  };
}

/** A frame of a client, masked with zeros, which leaves it as it is. */
function clientFrame(opcode: number, text: string): Buffer {
  const payload = Buffer.from(text);
  const head = Buffer.alloc(payload.length < 126 ? 6 : 8);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | Math.min(payload.length, 126);
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

function fail(_code: number, why: string): never {
  console.error(`a connection was lost: ${why}`);
  process.exit(1);
}
