/**
 * The bus by NATS: the leader publishes what its feed hands on, and nobody else needs to ask PostgreSQL.
 *
 * A word begins with the epoch of whoever says it, a name for one leadership, and a counter: by a hole in it, by
 * another epoch, and by a beat that counts further, whoever hears knows that he missed something. A leader whose feed
 * stands still is silent: then, as without NATS, it is down for those who hear. It reconnects for ever.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus, Hearer, Word } from '../bus.ts';
import { type Observe, reasonOf } from '../observation.ts';
import { parseSnapshot, spellSnapshot } from '../position.ts';
import { type NatsSession, openNatsSession } from './nats-session.ts';

export interface NatsBusOptions {
  url: string;
  /** What databases are told apart by; may change. */
  stream(): string;
  /** Whether the feed of this instance, as leader, hands everything on. */
  isLive(): boolean;
  hearer: Hearer;
  observe: Observe;
  newEpoch(): string;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
  /** Between two beats. */
  beatMs?: number;
  /** So long without a word, it is down for those who hear. */
  silentMs?: number;
  backoffMs?: (attempt: number) => number;
}

/** Instances that read each other's words differently must not hear each other. */
export const SUBJECT = 'rowcast.1';
const KINDS = { commit: 'c', snapshot: 's', tables: 't', beat: 'b' } as const;
const WORD = /^([\w-]+) (\d+) ([cstb])(?: (\d+:\d+:[\d,]*) (\d+))?$/;
const UNHEARD = 'no leader was heard by NATS yet';
/** Epochs that were heard lately; an earlier leader may speak on until it knows. */
const KNOWN_EPOCHS = 16;

export function createNatsBus(options: NatsBusOptions): Bus {
  const { hearer, observe, now = () => performance.now(), beatMs = 1_000, silentMs = 5_000 } = options;
  const { backoffMs = (attempt) => Math.min(100 * 2 ** attempt, 2_000) * (0.5 + Math.random() / 2) } =
    options;
  let stopping = new AbortController();
  let session: NatsSession | null = null;
  let running: Promise<void> = Promise.resolve();
  let reason: string | null = 'not started';
  let speaking: { readonly epoch: string; count: number } | null = null;
  let heard: { readonly epoch: string; count: number; at: number } | null = null;
  let known: readonly string[] = [];

  function becomeUp(): void {
    if (reason === null) return;
    reason = null;
    observe({ type: 'bus.up' });
  }

  function becomeDown(why: string): void {
    const heardBefore = heard !== null;
    heard = null;
    if (reason !== why && !stopping.signal.aborted) observe({ type: 'bus.down', reason: why });
    reason = why;
    if (heardBefore) hearer.onDown(why);
  }

  async function run(signal: AbortSignal): Promise<void> {
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await useOne(signal);
        attempt = 0;
      } catch (error) {
        if (!signal.aborted) becomeDown(`NATS: ${reasonOf(error)}`);
      }
      await sleep(backoffMs(attempt), undefined, { signal }).catch(reasonOf);
    }
  }

  /** One session from its beginning to its end. */
  async function useOne(signal: AbortSignal): Promise<void> {
    const stream = options.stream();
    const opened = await openNatsSession({
      url: options.url,
      subject: `${SUBJECT}.${stream}`,
      onText: hear,
      signal,
    });
    session = opened;
    const beat = setInterval(() => {
      if (options.stream() !== stream) opened.end('the database is another one');
      opened.check();
      lookAround();
    }, beatMs);
    const stop = () => opened.end('stopped');
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    if (speaking !== null) becomeUp();
    else if (heard === null) reason = UNHEARD;
    const why = await opened.ended;
    clearInterval(beat);
    signal.removeEventListener('abort', stop);
    session = null;
    becomeDown(`NATS: ${why}`);
  }

  function lookAround(): void {
    if (speaking !== null) {
      if (options.isLive()) speak('beat');
    } else if (heard !== null && now() - heard.at > silentMs) {
      becomeDown(`no word of the leader by NATS for ${silentMs} ms`);
    }
  }

  function speak(kind: keyof typeof KINDS, rest = '', shorter = rest): void {
    if (speaking === null) return;
    if (kind !== 'beat') speaking.count++;
    const begin = `${speaking.epoch} ${speaking.count} ${KINDS[kind]}`;
    const isLong = session !== null && !session.takes(Buffer.byteLength(rest) + begin.length);
    const sent = session?.publish(begin + (isLong ? shorter : rest)) ?? false;
    if (kind !== 'beat') observe({ type: 'bus.said', sent });
  }

  function hear(text: string): void {
    // The leader hears by himself.
    if (speaking !== null) return;
    const end = text.indexOf('\n');
    const [, epoch, digits, kind, snapshot, atUs] = WORD.exec(end < 0 ? text : text.slice(0, end)) ?? [];
    if (epoch === undefined) {
      observe({ type: 'feed.malformed', what: `${text.length} characters by NATS that rowcast did not say` });
      return;
    }
    if (!isCounted(epoch, Number(digits), kind === KINDS.beat)) return;
    if (kind !== KINDS.beat) observe({ type: 'bus.heard' });
    if (kind === KINDS.commit) hearer.onCommit(text.slice(end + 1));
    else if (kind === KINDS.tables) hearer.onTables();
    else if (snapshot !== undefined && atUs !== undefined)
      hearer.onSnapshot(parseSnapshot(snapshot, BigInt(atUs)));
  }

  /** False for a word that is not to be heard. Tells what was missed before it. */
  function isCounted(epoch: string, count: number, isBeat: boolean): boolean {
    if (heard === null || heard.epoch !== epoch) {
      const wasUp = heard !== null;
      // Another leads since; but where that one is silent, this may be the leader again.
      if (heard !== null && known.includes(epoch) && now() - heard.at < 2 * beatMs) return false;
      heard = { epoch, count, at: now() };
      if (!known.includes(epoch)) known = [...known.slice(1 - KNOWN_EPOCHS), epoch];
      becomeUp();
      if (wasUp) missed();
      else hearer.onUp();
      return true;
    }
    heard.at = now();
    const expected = isBeat ? heard.count : heard.count + 1;
    if (count < expected) return false;
    heard.count = count;
    if (count > expected) {
      observe({ type: 'bus.gap', missed: count - expected });
      missed();
    }
    return true;
  }

  function missed(): void {
    hearer.onTold();
    hearer.onTables();
  }

  function say(word: Word): void {
    if (word.kind === 'commit') {
      const { xid, id, at, body } = word.commit;
      speak('commit', body === null ? `\n${xid}` : `\n${xid} ${id} "${at}"\n${body}`, `\n${xid}`);
    } else if (word.kind === 'snapshot') {
      speak('snapshot', ` ${spellSnapshot(word.snapshot)} ${word.snapshot.atUs}`);
    } else if (word.kind === 'tables') {
      speak('tables');
    }
    // What is to be read was said as itself.
  }

  return {
    async start() {
      stopping = new AbortController();
      reason = 'connecting to NATS';
      running = run(stopping.signal);
    },
    async stop() {
      stopping.abort();
      await running;
      reason = 'stopped';
    },
    get up() {
      return reason === null;
    },
    get reason() {
      return reason;
    },
    lead() {
      speaking = { epoch: options.newEpoch(), count: 0 };
      heard = null;
      if (session !== null) becomeUp();
      // Others know at once that they must have read everything before.
      speak('beat');
    },
    resign() {
      if (speaking === null) return;
      speaking = null;
      if (session !== null) reason = UNHEARD;
    },
    async say(word) {
      say(word);
    },
  };
}
