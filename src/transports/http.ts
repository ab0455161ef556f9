/**
 * HTTP: health, readiness, metrics, and an answer to everything else.
 *
 * Owns the paths it is given and the last word on all others. Promises that
 * every request is answered, in JSON unless it asked for something else, and
 * that none is answered after its client has gone.
 */
import type { TemplatedApp } from 'uWebSockets.js';
import { type Answer, json, methodOf, notFound, type Page, send, sendLater } from './answer.ts';

export type { Page } from './answer.ts';

/** Whether clients should be sent here, and why not. Where NATS was asked for: which bus is in use, and why not NATS. */
export type Readiness =
  | { ready: true; bus?: 'nats' | 'postgres'; because?: string }
  | { ready: false; reason: string };

export interface HttpOptions {
  ready(): Readiness;
  readonly metrics: { text(): Promise<string>; readonly contentType: string };
  /** Further pages by path, such as `/`. */
  readonly pages?: Readonly<Record<string, Page>>;
}

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
