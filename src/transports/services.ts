/**
 * What services ask for over HTTP, with the service token: `POST /publish`, `GET /sessions`, `DELETE /sessions/:id` and
 * `DELETE /sessions?user=…`.
 *
 * It promises that nobody without the token gets anything done, that how long a refusal takes says nothing of the
 * token, and that a body is held only up to its limit.
 */

import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Outgoing } from '../hub/relay.ts';
import type { RollCall, Whom } from '../hub/roll-call.ts';
import { ProtocolError, parsePublication } from '../protocol.ts';
import { type Answer, json, sendLater } from './answer.ts';

export interface ServicesOptions {
  /** Undefined: nobody is a service. */
  readonly serviceToken: string | undefined;
  readonly maxBodyBytes: number;
  /** Resolves when it is committed. Rejects with a `ProtocolError`. */
  send(message: Outgoing): Promise<void>;
  readonly rollCall: RollCall;
}

/** Sessions of one answer. */
const PAGE = { preset: 100, most: 1_000 };

const STATUS: Partial<Record<ProtocolError['code'], string>> = {
  unavailable: '503 Service Unavailable',
  limit_exceeded: '413 Content Too Large',
};

export function mountServices(app: TemplatedApp, options: ServicesOptions): void {
  const { serviceToken, maxBodyBytes, send, rollCall } = options;
  const expected = serviceToken === undefined ? null : digestOf(serviceToken);

  /** Null for a service. */
  function refusal(request: HttpRequest): Answer | null {
    if (expected === null)
      return json('403 Forbidden', {
        error: 'forbidden',
        message: 'this service has no ROWCAST_SERVICE_TOKEN',
      });
    const [, given = ''] = /^Bearer +(.*?) *$/i.exec(request.getHeader('authorization')) ?? [];
    if (timingSafeEqual(digestOf(given), expected)) return null;
    const message = 'send the service token as "Authorization: Bearer …"';
    return json('401 Unauthorized', { error: 'unauthorized', message }, { 'WWW-Authenticate': 'Bearer' });
  }

  /** Answers by `answer`, which reads of the request what it needs in this very turn. */
  function answerBy(answer: (request: HttpRequest, response: HttpResponse) => Promise<Answer>) {
    return (response: HttpResponse, request: HttpRequest) => {
      const refused = refusal(request);
      const answered = refused === null ? answer(request, response) : Promise.resolve(refused);
      return sendLater(response, 'get', answered.catch(answerTo));
    };
  }

  app.post(
    '/publish',
    answerBy(async (_, response) => {
      const { event, payload, ...target } = parsePublication(await bodyOf(response, maxBodyBytes));
      const to = 'channel' in target ? { channel: target.channel } : { user: target.user };
      await send({ to, event, payload, from: null });
      return json('200 OK', { published: true });
    }),
  );
  app.get(
    '/sessions',
    answerBy(async (request) => {
      const limit = limitOf(request.getQuery('limit'));
      const user = request.getQuery('user') || null;
      const { sessions, missing } = await rollCall.list({
        user,
        after: request.getQuery('after') || null,
        limit,
      });
      const next = sessions.length === limit ? sessions.at(-1)?.id : undefined;
      return json('200 OK', { sessions, ...(next === undefined ? {} : { next }), missing });
    }),
  );
  app.del(
    '/sessions/:id',
    answerBy((request) => disconnect({ session: request.getParameter(0) ?? '' })),
  );
  app.del(
    '/sessions',
    answerBy(async (request) => {
      const user = request.getQuery('user');
      if (!user)
        throw new ProtocolError('bad_frame', 'say whose: DELETE /sessions?user=…, or DELETE /sessions/:id');
      return disconnect({ user });
    }),
  );

  async function disconnect(whom: Whom): Promise<Answer> {
    const { disconnected, missing } = await rollCall.disconnect(whom);
    if (disconnected > 0 || 'user' in whom) return json('200 OK', { disconnected, missing });
    return json('404 Not Found', {
      error: 'not_found',
      message: 'no instance that answered has such a session',
      missing,
    });
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function limitOf(text: string | undefined): number {
  if (!text) return PAGE.preset;
  const limit = Number(text);
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= PAGE.most) return limit;
  throw new ProtocolError('bad_frame', `"limit" must be a whole number from 1 to ${PAGE.most}`);
}

function answerTo(thrown: unknown): Answer {
  if (!(thrown instanceof ProtocolError)) throw thrown;
  return json(STATUS[thrown.code] ?? '400 Bad Request', { error: thrown.code, message: thrown.message });
}

/** Reads the body, which must be UTF-8. */
function bodyOf(response: HttpResponse, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    response.onData((chunk, isLast) => {
      size += chunk.byteLength;
      // The bytes are gone after this turn.
      if (size <= maxBytes) chunks.push(Buffer.from(Buffer.from(chunk)));
      if (!isLast) return;
      if (size > maxBytes)
        return reject(
          new ProtocolError('limit_exceeded', `the body has ${size} bytes; the limit is ${maxBytes}`),
        );
      try {
        resolve(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)));
      } catch {
        reject(new ProtocolError('bad_frame', 'the body is not UTF-8'));
      }
    });
  });
}
