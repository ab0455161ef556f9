/** The doctor's check of the bus: that what is published by NATS is heard, where instances are to hear by it. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type pg from 'pg';
import { SUBJECT } from '../../bus/nats.ts';
import { type NatsSession, openNatsSession } from '../../bus/nats-session.ts';
import type { Config } from '../../config.ts';
import { reasonOf } from '../../observation.ts';
import type { Found } from './finding.ts';

const HEARD_MS = 4_000;

/** By what a reason is known, and what to do about it; the last one is for all others. */
const REMEDIES: readonly (readonly [reason: RegExp, remedy: string])[] = [
  [/Authorization Violation/, 'mend user and password, or the token, in ROWCAST_BUS'],
  [/Permissions Violation/, `let that user publish and subscribe to ${SUBJECT}.>`],
  [/does not support 'tls'/, 'set up TLS at the server, or write nats:// in place of tls:// in ROWCAST_BUS'],
  [/certificate|altnames/i, 'set NODE_EXTRA_CA_CERTS to a file with the certificate of who signed it'],
  [/not heard/, 'look at the logs of the NATS server'],
  [/^/, 'mend host and port in ROWCAST_BUS, or start the server'],
];

export async function checkBus(_: pg.Client, { bus }: Pick<Config, 'bus'>): Promise<Found> {
  if (bus === 'postgres') return { found: 'each instance hears of commits from PostgreSQL' };
  const where = `the NATS server ${new URL(bus).host}`;
  try {
    return { found: `what is published at ${where} was heard after ${(await hear(bus)).toFixed(1)} ms` };
  } catch (error) {
    const reason = reasonOf(error);
    const remedy = REMEDIES.find(([known]) => known.test(reason))?.[1] ?? '';
    return { found: `${where}: ${reason}`, remedy: `${remedy}; until then each instance LISTENs` };
  }
}

/** In milliseconds, how long a word takes from one session to another. Rejects where it does not come. */
async function hear(url: string): Promise<number> {
  const subject = `${SUBJECT}.doctor.${randomBytes(6).toString('hex')}`;
  const ear = new EventTarget();
  const { signal } = new AbortController();
  const sessions: NatsSession[] = [];
  const open = async (): Promise<NatsSession> => {
    const onText = () => void ear.dispatchEvent(new Event('heard'));
    const opened = await openNatsSession({ url, subject, signal, onText });
    sessions.push(opened);
    return opened;
  };
  try {
    await open();
    const speaker = await open();
    const begunAt = performance.now();
    const heard = once(ear, 'heard', { signal: AbortSignal.timeout(HEARD_MS) });
    speaker.publish('?');
    await heard.catch((cause: unknown) => {
      throw new Error(`what is published is not heard within ${HEARD_MS} ms`, { cause });
    });
    return performance.now() - begunAt;
  } finally {
    for (const session of sessions) session.end('done');
  }
}
