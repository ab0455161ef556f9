/** What the demo's page may ask for besides: rows to write, a token, and the listener to be restarted. */
import { SignJWT } from 'jose';
import pg from 'pg';
import { z } from 'zod';
import type { Config } from '../config.ts';

/** What a route says to a body: JSON, or why not. */
export type Route = (body: unknown) => Promise<Said>;

export interface Said {
  readonly status: string;
  readonly body: string;
}

const TOKEN_SECONDS = 3_600;

const order = z.object({
  customer: z.string().trim().min(1, 'write a name').max(60, 'at most 60 characters'),
  product: z.int32(),
  quantity: z.int32().min(1, 'at least one').max(99, 'at most 99'),
});
const one = z.object({ id: z.int().positive() });
const message = z.object({
  content: z.string().trim().min(1, 'write something').max(2_000, 'at most 2000 characters'),
  room_id: z.int32().default(1),
});
const visitor = z.object({
  name: z.string().trim().min(1, 'write a name').max(30, 'at most 30 characters'),
});

export interface RoutesOptions {
  pool: Pick<pg.Pool, 'query'>;
  config: Pick<Config, 'jwtSecret' | 'jwtIssuer' | 'jwtAudience'>;
}

/** By path. A route rejects with PostgreSQL's error. */
export function createRoutes({ pool, config }: RoutesOptions): Readonly<Record<string, Route>> {
  const { jwtSecret, jwtIssuer, jwtAudience } = config;

  async function row(sql: string, values: unknown[]): Promise<Said> {
    const { rows } = await pool.query<{ row: string | null }>(sql, values);
    return { status: '201 Created', body: rows[0]?.row ?? '{}' };
  }

  async function token(name: string): Promise<Said> {
    if (jwtSecret === undefined)
      return refusal(
        '409 Conflict',
        'tokens are signed elsewhere: set ROWCAST_JWT_SECRET alone for the chat',
      );
    const seconds = Math.floor(Date.now() / 1_000);
    const signing = new SignJWT({ sub: name, exp: seconds + TOKEN_SECONDS }).setProtectedHeader({
      alg: 'HS256',
    });
    if (jwtIssuer !== undefined) signing.setIssuer(jwtIssuer);
    if (jwtAudience !== undefined) signing.setAudience(jwtAudience);
    const signed = await signing.sign(new TextEncoder().encode(jwtSecret));
    return { status: '201 Created', body: JSON.stringify({ token: signed }) };
  }

  return {
    messages: of(message, ({ room_id, content }) =>
      row(
        `insert into public.messages (room_id, content) values ($1, $2) returning to_jsonb(messages)::text as row`,
        [room_id, content],
      ),
    ),
    orders: of(order, ({ customer, product, quantity }) =>
      row(`select json_build_object('id', demo.place_order($1, $2, $3))::text as row`, [
        customer,
        product,
        quantity,
      ]).catch(tooFew),
    ),
    'orders/advance': of(one, ({ id }) =>
      row(`select json_build_object('state', demo.advance_order($1))::text as row`, [id]),
    ),
    'products/restock': of(one, ({ id }) =>
      row(
        `update demo.products set stock = stock + 10 where id = $1 returning to_jsonb(products)::text as row`,
        [id],
      ),
    ),
    stir: () => row('select demo.stir()::text as row', []),
    token: of(visitor, ({ name }) => token(name)),
    // As a broken network would; whoever listens makes another connection, and reads what it missed.
    listener: () =>
      row(
        `select json_build_object('ended', count(pg_terminate_backend(pid)))::text as row from pg_stat_activity
          where application_name = 'rowcast listener' and datname = current_database()`,
        [],
      ),
  };
}

export function refusal(status: string, why: string): Said {
  return { status, body: JSON.stringify({ error: why }) };
}

function of<T>(schema: z.ZodType<T>, work: (body: T) => Promise<Said>): Route {
  return async (body) => {
    const parsed = schema.safeParse(body);
    if (parsed.success) return work(parsed.data);
    const [issue] = parsed.error.issues;
    const where = issue?.path.join('.') || 'the body';
    return refusal('400 Bad Request', `${where}: ${issue?.message ?? 'is not what was expected'}`);
  };
}

function tooFew(error: unknown): Said {
  if (error instanceof pg.DatabaseError && error.code === '23514')
    return refusal('409 Conflict', error.message);
  throw error;
}
