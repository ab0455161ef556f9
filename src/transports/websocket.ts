/**
 * WebSocket: `GET /ws`, a session for every connection.
 *
 * It owns the handshake and the way between uWebSockets.js and sessions. It promises that no
 * frame is ever dropped for a client that does not read: the hub watches and ends it instead.
 */
import uWS, { type HttpRequest, type HttpResponse, type TemplatedApp, type WebSocket } from 'uWebSockets.js';
import type { Config } from '../config.ts';
import type { Hub } from '../hub.ts';
import { allowsOrigin } from '../origin.ts';
import { CLOSE_CODES, PROTOCOL_NAME, ProtocolError } from '../protocol.ts';
import type { Socket } from '../session/socket.ts';
import type { Session } from '../session.ts';
import { addressOf, tokenOf } from './request.ts';

export interface WebSocketOptions {
  hub: Pick<Hub, 'open' | 'draining'>;
  config: Pick<Config, 'origins' | 'maxFrameBytes' | 'compression' | 'trustProxy'>;
}

/** What is kept with a connection. */
interface Attached {
  /** There from `open` on. */
  session: Session | undefined;
  /** Until then. */
  token: string | undefined;
  address: string;
}

const PATH = '/ws';
/** Silence after which a peer must answer a ping or is taken for dead, in seconds. */
const IDLE_TIMEOUT_S = 60;
/** A frame that is a little too large is answered; what is past this cuts the connection. */
const MAX_EXCESS_BYTES = 1024 * 1024;

/** A publisher over all sockets of `app`, for the hub and the router. Each frame is encoded once. */
export function createPublisher(
  app: TemplatedApp,
  { compression }: Pick<Config, 'compression'>,
): (topic: string, frame: string) => void {
  return (topic, frame) => {
    app.publish(topic, frame, false, compression);
  };
}

/** Mounts the endpoint on `app`. */
export function mountWebSocket(app: TemplatedApp, { hub, config }: WebSocketOptions): void {
  const { maxFrameBytes, compression } = config;

  app.ws<Attached>(PATH, {
    maxPayloadLength: maxFrameBytes + Math.min(3 * maxFrameBytes, MAX_EXCESS_BYTES),
    // No limit: past one, frames would be dropped and later ones still sent.
    maxBackpressure: 0,
    closeOnBackpressureLimit: 0,
    idleTimeout: IDLE_TIMEOUT_S,
    sendPingsAutomatically: true,
    compression: compression ? uWS.SHARED_COMPRESSOR : uWS.DISABLED,
    upgrade: (response, request, context) => {
      if (hub.draining) return refuse(response, '503 Service Unavailable');
      const origin = request.getHeader('origin');
      if (!allowsOrigin(config.origins, origin, request.getHeader('host'))) {
        return refuse(response, '403 Forbidden');
      }
      response.upgrade<Attached>(
        {
          session: undefined,
          token: tokenOf(request),
          address: addressOf(request, response, config.trustProxy),
        },
        request.getHeader('sec-websocket-key'),
        subProtocol(request),
        request.getHeader('sec-websocket-extensions'),
        context,
      );
    },
    open: (socket) => {
      const attached = socket.getUserData();
      const { token, address } = attached;
      attached.token = undefined;
      attached.address = '';
      const connection = new Connection(socket, compression);
      attached.session = hub.open(connection, { transport: 'websocket', address, token });
    },
    message: (socket, data, isBinary) => {
      const { session } = socket.getUserData();
      if (session === undefined) return;
      if (isBinary) {
        const message = 'frames are text, one JSON object each; this one is binary';
        session.fail(new ProtocolError('bad_frame', message, { close: CLOSE_CODES.badFrames }));
      } else if (data.byteLength > maxFrameBytes) {
        const message = `the frame has ${data.byteLength} bytes; the limit is ${maxFrameBytes}`;
        session.receiveUnreadable(new ProtocolError('bad_frame', message));
      } else {
        // It is UTF-8: uWebSockets.js cuts a client whose text is not. The bytes are gone after this turn.
        session.receive(Buffer.from(data).toString());
      }
    },
    close: (socket, code, reason) => {
      socket.getUserData().session?.closed(code, Buffer.from(reason).toString());
    },
  });

  app.get(PATH, (response) => refuse(response, '426 Upgrade Required'));
}

class Connection implements Socket {
  readonly #socket: WebSocket<Attached>;
  readonly #compress: boolean;

  constructor(socket: WebSocket<Attached>, compress: boolean) {
    this.#socket = socket;
    this.#compress = compress;
  }

  send(text: string): void {
    this.#socket.send(text, false, this.#compress);
  }

  subscribe(topic: string): void {
    this.#socket.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#socket.unsubscribe(topic);
  }

  end(code: number, reason: string): void {
    this.#socket.end(code, reason);
  }

  terminate(): void {
    this.#socket.close();
  }

  bufferedBytes(): number {
    return this.#socket.getBufferedAmount();
  }
}

function subProtocol(request: HttpRequest): string {
  const offered = request.getHeader('sec-websocket-protocol').split(',');
  return offered.some((name) => name.trim() === PROTOCOL_NAME) ? PROTOCOL_NAME : '';
}

function refuse(response: HttpResponse, status: string): void {
  response.writeStatus(status);
  if (status.startsWith('503')) response.writeHeader('Retry-After', '1');
  if (status.startsWith('426')) response.writeHeader('Upgrade', 'websocket');
  response.end();
}
