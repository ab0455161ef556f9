/**
 * The demo: a page on which rows appear as they are committed, and the routes by which it writes some.
 *
 * It belongs to `rowcast dev`. The rows get to the page the way any client gets them.
 */

import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import pg from 'pg';
import type { Config } from '../config.ts';
import { type Observe, reasonOf } from '../observation.ts';
import { allowsOrigin } from '../origin.ts';
import type { Page } from '../transports/http.ts';
import { readBody } from './body.ts';
import { readPages } from './files.ts';
import { createRoutes, type Route, type RoutesOptions, refusal, type Said } from './routes.ts';

export interface Demo {
  /** By path. */
  readonly pages: Readonly<Record<string, Page>>;
  mount(app: TemplatedApp): void;
  /** Ends its connections to PostgreSQL. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 16 * 1024;

export interface DemoOptions {
  config: Pick<Config, 'databaseUrl' | 'origins'> & RoutesOptions['config'];
  observe: Observe;
}

/** Creates the demo over a database that has its tables. */
export async function createDemo({ config, observe }: DemoOptions): Promise<Demo> {
  const pool = new pg.Pool({
    connectionString: config.databaseUrl,
    application_name: 'rowcast demo',
    max: 2,
    connectionTimeoutMillis: 5_000,
    query_timeout: 5_000,
  });
  pool.on('error', (error) => observe({ type: 'pool.error', error: reasonOf(error) }));
  const pages = await readPages();

  async function post(response: HttpResponse, refused: Said | undefined, route: Route): Promise<Said> {
    const body = await readBody(response, MAX_BODY_BYTES);
    if (refused) return refused;
    if (body === undefined)
      return refusal('413 Content Too Large', `a body has at most ${MAX_BODY_BYTES} bytes`);
    return route(jsonOf(body));
  }

  /** Other sites must not write by way of a visitor's browser. */
  function refusedRequest(request: HttpRequest): Said | undefined {
    const origin = request.getHeader('origin');
    if (!allowsOrigin(config.origins, origin, request.getHeader('host')))
      return refusal('403 Forbidden', 'pages of this origin may not write here');
    const type = request.getHeader('content-type');
    if (/^application\/json\b/i.test(type)) return undefined;
    return refusal('415 Unsupported Media Type', 'the body must be application/json');
  }

  return {
    pages,
    mount(app) {
      for (const [path, route] of Object.entries(createRoutes({ pool, config }))) {
        app.post(
          `/demo/${path}`,
          (response, request) => void answer(response, post(response, refusedRequest(request), route)),
        );
      }
    },
    close: () => pool.end(),
  };
}

/** Answers when `coming` is there, unless the client has gone by then. */
async function answer(response: HttpResponse, coming: Promise<Said>): Promise<void> {
  let gone = false;
  response.onAborted(() => {
    gone = true;
  });
  const { status, body } = await coming.catch((error: unknown) =>
    refusal('500 Internal Server Error', reasonOf(error)),
  );
  if (gone) return;
  response.cork(() => {
    response
      .writeStatus(status)
      .writeHeader('Content-Type', 'application/json')
      .writeHeader('Cache-Control', 'no-store')
      .end(body);
  });
}

/** What the text says; undefined where it is no JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
