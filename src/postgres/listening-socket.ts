/**
 * The socket of a listening session: hands each notification on as it comes, and all else to `pg`.
 *
 * A notification is what a client waits for, so it goes the shortest way: out of one buffer that is used again and
 * again, past streams, parser and events. It promises that `pg` gets whole messages, in order, and no notification of
 * the channel; and that where TLS is spoken everything is `pg`'s.
 */
import { type ConnectOpts, Socket, type SocketConstructorOpts } from 'node:net';

export interface ListeningSocketOptions {
  channel: string;
  /** Each notification as its text, with the backend that sent it, and whether nothing came together with it. */
  onNotification(payload: string, sender: number, isAlone: boolean): void;
}

const NOTIFICATION = 'A'.charCodeAt(0);
/** A message is its type, its length without the type, and so many bytes. */
const HEADER_BYTES = 5;
/** A notification begins with the backend that sent it. */
const SENDER_BYTES = 4;
const BUFFER_BYTES = 64 * 1024;

/** Creates a socket, not connected. */
export function createListeningSocket({ channel, onNotification }: ListeningSocketOptions): Socket {
  const nameBytes = Buffer.byteLength(channel);
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  /** The beginning of a message. */
  let rest: Buffer | null = null;
  let isBegun = false;
  let isPlain = true;

  /** Takes what has come of `data`, up to `length`; keeps a message that has not come as a whole. */
  function take(data: Buffer, length: number): void {
    let passed = 0;
    let at = 0;
    while (at + HEADER_BYTES <= length) {
      const end = at + 1 + data.readInt32BE(at + 1);
      if (end > length) break;
      const payloadAt = at + HEADER_BYTES + SENDER_BYTES + nameBytes + 1;
      // The session listens to one channel: a name of that length is its name.
      if (data[at] === NOTIFICATION && data[payloadAt - 1] === 0) {
        pass(data, passed, at);
        passed = end;
        const isAlone = at === 0 && end === length;
        onNotification(
          data.toString('utf8', payloadAt, end - 1),
          data.readInt32BE(at + HEADER_BYTES),
          isAlone,
        );
      }
      at = end;
    }
    pass(data, passed, at);
    rest = at < length ? Buffer.from(data.subarray(at, length)) : null;
  }

  function pass(data: Buffer, start: number, end: number): void {
    if (start < end) socket.emit('data', Buffer.from(data.subarray(start, end)));
  }

  const options: SocketConstructorOpts & ConnectOpts = {
    onread: {
      buffer,
      callback(length) {
        // One byte says whether TLS follows: no message is as short.
        if (!isBegun) isPlain = length > 1;
        isBegun = true;
        if (!isPlain) {
          pass(buffer, 0, length);
        } else if (rest === null) {
          take(buffer, length);
        } else {
          const data = Buffer.concat([rest, buffer.subarray(0, length)]);
          take(data, data.length);
        }
        return true;
      },
    },
  };
  const socket = new Socket(options);
  return socket;
}
