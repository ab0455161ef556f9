/**
 * The proof that LISTEN works: a NOTIFY sent by way of one address is heard at another.
 *
 * It fails where a transaction pooler is in between, and where the two lead to different databases or servers.
 */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { reasonOf } from '../observation.ts';
import { StartError } from '../start-error.ts';
import { type AddressSetting, connect, place } from './connect.ts';

/** `afterMs` is null where it was not heard; both places as `host:port/database`. */
export interface Hearing {
  readonly afterMs: number | null;
  readonly sentAt: string;
  readonly listenedAt: string;
}

export interface HearingOptions {
  setting: AddressSetting;
  applicationName: string;
  /** How long to wait for it. */
  withinMs?: number;
}

const WITHIN_MS = 5_000;

/** Sends on `client`, listens at the address. Throws a `StartError` where one cannot connect or LISTEN there. */
export async function hear(client: pg.Client, listenUrl: string, options: HearingOptions): Promise<Hearing> {
  const { setting, applicationName, withinMs = WITHIN_MS } = options;
  const channel = `rowcast_hearing_${randomBytes(8).toString('hex')}`;
  const listener = await connect(listenUrl, { setting, applicationName, queryTimeoutMs: withinMs });
  let timer: NodeJS.Timeout | undefined;
  try {
    const heard = new Promise<boolean>((resolve) => {
      listener.on('notification', (message) => message.channel === channel && resolve(true));
      timer = setTimeout(() => resolve(false), withinMs);
    });
    await listener.query(`listen ${channel}`).catch((cause: unknown) => {
      throw new StartError(
        `${setting}: cannot LISTEN at ${place(listener)}: ${reasonOf(cause)}${remedyFor(cause)}`,
        {
          cause,
        },
      );
    });
    const begunAt = performance.now();
    await client.query('select pg_notify($1, $2)', [channel, 'heard?']);
    const afterMs = (await heard) ? performance.now() - begunAt : null;
    return { afterMs, sentAt: place(client), listenedAt: place(listener) };
  } finally {
    clearTimeout(timer);
    // Through a pooler it would stay on the session of others.
    await listener.query(`unlisten ${channel}`).catch(reasonOf);
    await listener.end();
  }
}

/** What to do where a NOTIFY was not heard. */
export const HEARING_REMEDY =
  'let ROWCAST_LISTEN_URL lead to the very server and database of DATABASE_URL, directly, not by a transaction pooler';

function remedyFor(error: unknown): string {
  const standby = error instanceof pg.DatabaseError && error.code === '25006';
  return standby ? '; it is a standby: use the primary' : '';
}
