/**
 * One connection for one piece of work, such as a command of the command line.
 *
 * It promises that whatever keeps it from connecting becomes a `StartError`: one line that names the setting,
 * where it leads and what to do, and that shows no password.
 */
import pg from 'pg';
import { reasonOf } from '../observation.ts';
import { StartError } from '../start-error.ts';

/** The setting that an address came from. */
export type AddressSetting = 'DATABASE_URL' | 'ROWCAST_LISTEN_URL';

export interface ConnectOptions {
  setting: AddressSetting;
  /** As `pg_stat_activity` shows it. */
  applicationName: string;
  /** Longest wait for the connection. */
  deadlineMs?: number;
  /** Longest wait for the answer to one query; none by default, since migrations and locks take their time. */
  queryTimeoutMs?: number;
}

const DEADLINE_MS = 5_000;
const MIN_VERSION = 130_000;

const REMEDIES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'check host and port, and that PostgreSQL runs there',
  ECONNRESET: 'check host and port, and whether the server wants TLS (sslmode=require)',
  EAI_AGAIN: 'check the host name',
  ENOENT: 'check the folder of the socket',
  ENOTFOUND: 'check the host name',
  ETIMEDOUT: 'check host, port and firewalls',
  EHOSTUNREACH: 'check the host, and the way there',
  '28000': 'check the user, and pg_hba.conf of the server',
  '28P01': 'check user and password',
  '3D000': 'check the name of the database, or create it',
  '53300': 'raise max_connections, or close what holds them',
  '57P03': 'try again when the server is up',
};

/** Connects, to PostgreSQL 13 or later. The caller ends the connection. Throws a `StartError`. */
export async function connect(url: string, options: ConnectOptions): Promise<pg.Client> {
  const { setting, applicationName, deadlineMs = DEADLINE_MS, queryTimeoutMs = 0 } = options;
  let client: pg.Client | undefined;
  try {
    client = new pg.Client({
      connectionString: url,
      application_name: applicationName,
      connectionTimeoutMillis: deadlineMs,
      query_timeout: queryTimeoutMs,
    });
    // What breaks the connection fails the query under way too, which is where it is told.
    client.on('error', () => undefined);
    await client.connect();
  } catch (error) {
    throw new StartError(connectionFault(setting, client, error), { cause: error });
  }
  try {
    await checkVersion(client, setting);
    return client;
  } catch (error) {
    await client.end();
    throw error;
  }
}

/**
 * Gives `work` a connection and ends it afterwards. What PostgreSQL refuses in it becomes a `StartError` with
 * PostgreSQL's own words and hint.
 */
export async function withConnection<T>(
  url: string,
  options: ConnectOptions,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = await connect(url, options);
  try {
    return await work(client);
  } catch (error) {
    if (error instanceof pg.DatabaseError) throw new StartError(refusal(error), { cause: error });
    throw error;
  } finally {
    await client.end();
  }
}

/** What PostgreSQL said, with its hint, in one line. */
export function refusal(error: unknown): string {
  const hint = error instanceof pg.DatabaseError && error.hint ? ` (${error.hint})` : '';
  return reasonOf(new Error(`${reasonOf(error)}${hint}`));
}

function connectionFault(setting: AddressSetting, client: pg.Client | undefined, error: unknown): string {
  const where = client === undefined ? '' : ` to ${place(client)}`;
  return `${setting}: cannot connect${where}: ${reasonOf(error)}; ${remedyFor(error, client)}`;
}

/** `host:port/database`; a folder for a socket. */
export function place({ host, port, database }: pg.Client): string {
  const address = host.includes(':') ? `[${host}]` : host;
  return `${address}:${port}/${database ?? ''}`;
}

function remedyFor(error: unknown, client: pg.Client | undefined): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const message = reasonOf(error);
  if (/^SASL:/.test(message)) return 'check the password';
  if (/SSL|certificate/i.test(`${code} ${message}`)) return 'check sslmode and certificates';
  if (/timeout/i.test(message)) return 'check host, port and firewalls';
  if (code === '42501' && client?.database && client.user) {
    const [database, user] = [client.database, client.user].map(pg.escapeIdentifier);
    return `as the owner of the database, run: grant connect on database ${database} to ${user}`;
  }
  return REMEDIES[code] ?? 'check the address';
}

async function checkVersion(client: pg.Client, setting: AddressSetting): Promise<void> {
  const { rows } = await client.query<{ number: number; version: string }>(
    `select current_setting('server_version_num')::int as number, current_setting('server_version') as version`,
  );
  const [server] = rows;
  if (server !== undefined && server.number >= MIN_VERSION) return;
  throw new StartError(
    `${setting}: ${place(client)} is PostgreSQL ${server?.version}; rowcast needs 13 or later: upgrade it, or use another`,
  );
}
