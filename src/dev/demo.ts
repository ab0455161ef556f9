/**
 * The demo: a page on which rows appear as they are committed, and the route by which it inserts one.
 *
 * It belongs to `rowcast dev`. The rows get to the page the way any client gets them.
 */

import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { z } from 'zod';
import type { Config } from '../config.ts';
import { type Observe, reasonOf } from '../observation.ts';
import { allowsOrigin } from '../origin.ts';
import type { Page } from '../transports/http.ts';
import { readBody } from './body.ts';

export interface Demo {
  /** By path. */
  readonly pages: Readonly<Record<string, Page>>;
  mount(app: TemplatedApp): void;
  /** Ends its connections to PostgreSQL. */
  close(): Promise<void>;
}

const PATH = '/demo/messages';
const MAX_BODY_BYTES = 16 * 1024;
const MAX_CONTENT = 2_000;

const message = z.object({
  content: z.string().trim().min(1, 'write something').max(MAX_CONTENT, `at most ${MAX_CONTENT} characters`),
  room_id: z.int32().default(1),
});

const INSERT = `insert into public.messages (room_id, content) values ($1, $2) returning to_jsonb(messages)::text as row`;

export interface DemoOptions {
  config: Pick<Config, 'databaseUrl' | 'origins'>;
  observe: Observe;
}

/** Creates the demo over a database that has its table. */
export async function createDemo({ config, observe }: DemoOptions): Promise<Demo> {
  const pool = new pg.Pool({
    connectionString: config.databaseUrl,
    application_name: 'rowcast demo',
    max: 2,
    connectionTimeoutMillis: 5_000,
    query_timeout: 5_000,
  });
  pool.on('error', (error) => observe({ type: 'pool.error', error: reasonOf(error) }));
  const page = await readFile(new URL('page.html', import.meta.url), 'utf8');

  async function insert(body: string): Promise<Answer> {
    const parsed = message.safeParse(jsonOf(body));
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      const where = issue?.path.join('.') || 'the body';
      return refusal('400 Bad Request', `${where}: ${issue?.message ?? 'is no message'}`);
    }
    const { room_id, content } = parsed.data;
    const { rows } = await pool.query<{ row: string }>(INSERT, [room_id, content]);
    return { status: '201 Created', body: rows[0]?.row ?? '{}' };
  }

  async function post(response: HttpResponse, refused: Answer | undefined): Promise<Answer> {
    const body = await readBody(response, MAX_BODY_BYTES);
    if (refused) return refused;
    if (body === undefined)
      return refusal('413 Content Too Large', `a body has at most ${MAX_BODY_BYTES} bytes`);
    return insert(body);
  }

  /** Other sites must not write by way of a visitor's browser. */
  function refusedRequest(request: HttpRequest): Answer | undefined {
    const origin = request.getHeader('origin');
    if (!allowsOrigin(config.origins, origin, request.getHeader('host')))
      return refusal('403 Forbidden', 'pages of this origin may not write here');
    const type = request.getHeader('content-type');
    if (/^application\/json\b/i.test(type)) return undefined;
    return refusal('415 Unsupported Media Type', 'the body must be application/json');
  }

  return {
    pages: { '/': { contentType: 'text/html; charset=utf-8', body: page } },
    mount(app) {
      app.post(PATH, (response, request) => void answer(response, post(response, refusedRequest(request))));
    },
    close: () => pool.end(),
  };
}

interface Answer {
  readonly status: string;
  readonly body: string;
}

function refusal(status: string, why: string): Answer {
  return { status, body: JSON.stringify({ error: why }) };
}

/** Answers when `coming` is there, unless the client has gone by then. */
async function answer(response: HttpResponse, coming: Promise<Answer>): Promise<void> {
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
