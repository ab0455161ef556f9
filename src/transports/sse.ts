/**
 * Server-Sent Events: `GET /sse?topic=…`, a session for every stream, with the frames of the WebSocket.
 *
 * It owns the request and what a browser makes of the answer: an `EventSource` comes back by itself after a stream
 * that ended, and never after a status other than 200. So what would be refused again is refused by a status, and
 * what may go well later gets a stream that ends.
 */
import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import type { Config } from '../config.ts';
import type { Hub } from '../hub.ts';
import { allowsOrigin } from '../origin.ts';
import { ProtocolError } from '../protocol.ts';
import type { Session } from '../session.ts';
import { json, methodOf, send } from './answer.ts';
import { addressOf, tokenOf } from './request.ts';
import { commentLine } from './sse/event.ts';
import type { FanOut } from './sse/fan-out.ts';
import { Places } from './sse/places.ts';
import { readQuery, type StreamRequest } from './sse/query.ts';
import { COME_LATER, type Headers, retryAfter, STREAM_HEADERS, Stream } from './sse/stream.ts';

export { createFanOut, type FanOut } from './sse/fan-out.ts';

export interface SseOptions {
  hub: Pick<Hub, 'open' | 'draining'>;
  fanOut: FanOut;
  config: Pick<Config, 'origins' | 'trustProxy' | 'maxSubscriptions' | 'heartbeatMs'>;
}

const PATH = '/sse';
/** Shorter than what proxies take for silence. */
const KEEP_ALIVE_MS = 15_000;
const ALLOWED = 'GET, OPTIONS';
const PREFLIGHT: Headers = {
  'Access-Control-Allow-Methods': 'GET',
  'Access-Control-Allow-Headers': 'Authorization, Cache-Control, Last-Event-ID',
  'Access-Control-Max-Age': '7200',
};

/** Mounts the endpoint on `app`. Gives what stops its comments. */
export function mountSse(app: TemplatedApp, { hub, fanOut, config }: SseOptions): () => void {
  const streams = new Set<Stream>();
  const keepAlive = () => {
    for (const stream of streams) stream.keepAlive();
  };
  const timer = setInterval(keepAlive, Math.min(KEEP_ALIVE_MS, config.heartbeatMs));
  timer.unref();

  app.any(PATH, (response, request) => {
    const origin = request.getHeader('origin');
    if (!allowsOrigin(config.origins, origin, request.getHeader('host'))) {
      const message = `pages of the origin ${origin} may not connect; ROWCAST_ORIGINS says which may`;
      return send(response, 'get', json('403 Forbidden', { error: 'forbidden', message }));
    }
    const headers = headersFor(origin);
    const method = request.getMethod();
    if (method === 'options') return preflight(response, headers);
    if (method !== 'get') {
      const answer = { error: 'method_not_allowed', message: 'this path answers GET' };
      const refused = json('405 Method Not Allowed', answer, { ...headers, Allow: ALLOWED });
      return send(response, methodOf(request), refused);
    }
    if (hub.draining) return comeBack(response, headers);
    try {
      const asked = readQuery(request.getQuery(), request.getHeader('last-event-id'), config);
      open(response, request, headers, asked);
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown;
      const { code, message } = thrown;
      send(response, 'get', json('400 Bad Request', { error: code, message }, headers));
    }
  });

  function open(
    response: HttpResponse,
    request: HttpRequest,
    headers: Headers,
    { topics, begun, subscriptions }: StreamRequest,
  ): void {
    let session: Session | undefined;
    const isGone = () => session === undefined || session.phase === 'closing' || session.phase === 'closed';

    /** One after the other, each when the one before is live: then few of them are at a cursor of their own. */
    async function subscribe(): Promise<void> {
      for (const one of subscriptions) {
        if (isGone()) return;
        await session?.subscriber.subscribe(one);
      }
    }

    const stream = new Stream({
      response,
      headers,
      fanOut,
      places: new Places(topics, begun, () => fanOut.settled),
      catchesUp(place) {
        const asked = subscriptions[place];
        return asked?.since !== undefined || asked?.snapshot !== undefined;
      },
      onOpen() {
        streams.add(stream);
        // Not before its session has said all of its welcome.
        queueMicrotask(() => void subscribe());
      },
      onUnavailable() {
        const reason = 'a subscription cannot be had now: connect again and resume';
        queueMicrotask(() => session?.end(COME_LATER, reason));
      },
      onOver() {
        streams.delete(stream);
        session?.closed(1006, '');
      },
    });
    const address = addressOf(request, response, config.trustProxy);
    session = hub.open(stream, { transport: 'sse', address, token: tokenOf(request) });
  }

  return () => clearInterval(timer);
}

/** What lets a page of another origin read the answer. */
function headersFor(origin: string): Headers {
  if (origin === '') return { Vary: 'Origin' };
  return {
    Vary: 'Origin',
    'Access-Control-Allow-Origin': origin,
    'Access-Control-Allow-Credentials': 'true',
  };
}

function preflight(response: HttpResponse, headers: Headers): void {
  response.writeStatus('204 No Content');
  for (const [name, value] of Object.entries({ ...headers, ...PREFLIGHT })) response.writeHeader(name, value);
  response.endWithoutBody();
}

/** The instance is going away: a status would stop a browser, who finds another instance at once. */
function comeBack(response: HttpResponse, headers: Headers): void {
  response.writeStatus('200 OK');
  for (const [name, value] of Object.entries({ ...STREAM_HEADERS, ...headers }))
    response.writeHeader(name, value);
  response.end(`${commentLine('the instance is going away')}${retryAfter('draining')}\n`);
}
