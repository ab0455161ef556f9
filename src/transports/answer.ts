/** Answers over HTTP: each request gets one, unless its client has gone by then. */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { reasonOf } from '../observation.ts';

/** A page served as it is. */
export interface Page {
  readonly contentType: string;
  readonly body: string;
}

export interface Answer extends Page {
  readonly status: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export const json = (status: string, body: object, headers: Answer['headers'] = {}): Answer => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(body),
  headers,
});

export const notFound = json('404 Not Found', {
  error: 'not_found',
  message: 'there is nothing at this path',
});
export type Method = 'get' | 'head' | 'other';

export function methodOf(request: HttpRequest): Method {
  const method = request.getMethod();
  return method === 'get' || method === 'head' ? method : 'other';
}

/** Answers once `answer` is there, unless the client has gone by then. */
export async function sendLater(
  response: HttpResponse,
  method: Method,
  answer: Promise<Answer>,
): Promise<void> {
  let gone = false;
  response.onAborted(() => {
    gone = true;
  });
  const answered = await answer.catch((thrown: unknown) =>
    json('500 Internal Server Error', { error: 'internal', message: reasonOf(thrown) }),
  );
  if (!gone) response.cork(() => send(response, method, answered));
}

export function send(response: HttpResponse, method: Method, answer: Answer): void {
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
