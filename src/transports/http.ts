/**
 * HTTP: health, readiness, metrics, and an answer to everything else.
 *
 * Owns the paths it is given and the last word on all others. Promises that
 * every request is answered, in JSON unless it asked for something else, and
 * that none is answered after its client has gone.
 */
import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import { reasonOf } from '../observation.ts';

/** Whether clients should be sent here, and why not. Where NATS was asked for: which bus is in use, and why not NATS. */
export type Readiness =
  | { ready: true; bus?: 'nats' | 'postgres'; because?: string }
  | { ready: false; reason: string };

/** A page served as it is. */
export interface Page {
  readonly contentType: string;
  readonly body: string;
}

export interface HttpOptions {
  ready(): Readiness;
  readonly metrics: { text(): Promise<string>; readonly contentType: string };
  /** Further pages by path, such as `/`. */
  readonly pages?: Readonly<Record<string, Page>>;
}

interface Answer extends Page {
  readonly status: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const json = (status: string, body: object, headers: Answer['headers'] = {}): Answer => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(body),
  headers,
});

const notFound = json('404 Not Found', { error: 'not_found', message: 'there is nothing at this path' });
const notAllowed = json(
  '405 Method Not Allowed',
  { error: 'method_not_allowed', message: 'this path answers GET and HEAD' },
  { Allow: 'GET, HEAD' },
);

/** Mounts the paths above on `app`. Routes of other transports may be mounted before or after. */
export function mountHttp(app: TemplatedApp, { ready, metrics, pages = {} }: HttpOptions): void {
  const get = (path: string, answer: () => Answer | Promise<Answer>) => {
    app.any(path, (response, request) => {
      const method = methodOf(request);
      if (method === 'other') return send(response, method, notAllowed);
      const answered = answer();
      if (answered instanceof Promise) return sendLater(response, method, answered);
      return send(response, method, answered);
    });
  };

  get('/healthz', () => json('200 OK', { status: 'ok' }));
  get('/readyz', () => {
    const state = ready();
    if (state.ready) {
      const { ready: _, ...how } = state;
      return json('200 OK', { status: 'ready', ...how });
    }
    const body = { status: 'unready', reason: state.reason };
    return json('503 Service Unavailable', body, { 'Retry-After': '1' });
  });
  get('/metrics', async () => ({
    status: '200 OK',
    contentType: metrics.contentType,
    body: await metrics.text(),
  }));
  for (const [path, page] of Object.entries(pages)) get(path, () => ({ status: '200 OK', ...page }));

  app.any('/*', (response, request) => send(response, methodOf(request), notFound));
}

type Method = 'get' | 'head' | 'other';

function methodOf(request: HttpRequest): Method {
  const method = request.getMethod();
  return method === 'get' || method === 'head' ? method : 'other';
}

/** Answers once `answer` is there, unless the client has gone by then. */
async function sendLater(response: HttpResponse, method: Method, answer: Promise<Answer>): Promise<void> {
  let gone = false;
  response.onAborted(() => {
    gone = true;
  });
  const answered = await answer.catch((thrown: unknown) =>
    json('500 Internal Server Error', { error: 'internal', message: reasonOf(thrown) }),
  );
  if (!gone) response.cork(() => send(response, method, answered));
}

function send(response: HttpResponse, method: Method, answer: Answer): void {
  response
    .writeStatus(answer.status)
    .writeHeader('Content-Type', answer.contentType)
    .writeHeader('Cache-Control', 'no-store')
    .writeHeader('X-Content-Type-Options', 'nosniff');
  for (const [name, value] of Object.entries(answer.headers ?? {})) response.writeHeader(name, value);
  if (method === 'head') {
    // Told the length itself, endWithoutBody would wait for as many bytes; so a header says it.
    response.writeHeader('Content-Length', String(Buffer.byteLength(answer.body))).endWithoutBody();
  } else {
    response.end(answer.body);
  }
}
