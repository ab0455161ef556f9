/**
 * Many clients, each subscribed to a topic of its own. They know how long each change took to them, leave together,
 * and come back together with the cursors that they left with.
 *
 * Arguments: the service's port, and for each kind of client the topic; `*` in it stands for the client's number.
 */
import { clockMs } from '../rig/clock.ts';
import { answer } from '../rig/peer.ts';
import { median } from '../rig/statistics.ts';
import { type Client, openClient } from './socket.ts';

const [port = '', ...topics] = process.argv.slice(2);
/** Connections on their way to be ready. */
const AT_ONCE = 200;
const TYPE = '{"type":"'.length;
const CURSOR = Buffer.from('"cursor"');
/** Rows say when their commit was sent. */
const SENT_AT = Buffer.from('"content"');

interface Member {
  readonly topic: string;
  cursor: string;
  leave(): void;
}

const members: Member[] = [];
let tookMs: number[] = [];
let waiting: { changes: number; resolve(): void } | undefined;

/** Connects a client; resolves when its subscription is live. It resumes where it has been there before. */
function join(member: Member): Promise<void> {
  const since = member.cursor === '' ? {} : { since: member.cursor };
  const ready = member.cursor === '' ? 'subscribed' : 'live';
  return new Promise((resolve) => {
    const client: Client = openClient(Number(port), (text) => {
      switch (text.toString('latin1', TYPE, text.indexOf('"', TYPE))) {
        case 'welcome':
          return client.send(JSON.stringify({ type: 'subscribe', id: '1', topic: member.topic, ...since }));
        case 'change':
          tookMs.push(clockMs() - Number.parseFloat(stringOf(text, SENT_AT)));
          if (waiting !== undefined && tookMs.length >= waiting.changes) waiting.resolve();
          break;
        case ready:
          resolve();
          break;
        case 'subscribed':
          return;
        default:
          throw new Error(`unforeseen: ${text}`);
      }
      member.cursor = stringOf(text, CURSOR);
    });
    member.leave = client.leave;
  });
}

/** Gives how long it took until the last one was ready. */
async function joinAll(joining: readonly Member[]): Promise<number> {
  const begunMs = clockMs();
  const left = joining.values();
  const lane = async () => {
    for (const member of left) await join(member);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return clockMs() - begunMs;
}

function stringOf(text: Buffer, name: Buffer): string {
  const start = text.indexOf('"', text.indexOf(name) + name.length) + 1;
  return text.toString('latin1', start, text.indexOf('"', start));
}

answer({
  /** Connects so many more of a kind; gives in how many ms they were ready. */
  async connect(count = 0, kind = 0) {
    const fresh = Array.from({ length: count }, (_, nth) => ({
      topic: (topics[kind] ?? '').replace('*', String(members.length + nth)),
      cursor: '',
      leave() {},
    }));
    members.push(...fresh);
    return [await joinAll(fresh)];
  },
  /** All leave. */
  leave() {
    for (const member of members) member.leave();
    return [];
  },
  /** All connect as if they had never been there. */
  async restart() {
    for (const member of members) member.cursor = '';
    return [await joinAll(members)];
  },
  /** All come back; gives in how many ms they were live, and how many changes they got on the way. */
  async resume() {
    tookMs = [];
    const ms = await joinAll(members);
    const changes = tookMs.length;
    tookMs = [];
    return [ms, changes];
  },
  /** Waits for so many changes in all; gives the median of what they took. */
  async took(changes = 0) {
    if (tookMs.length < changes) await new Promise<void>((resolve) => (waiting = { changes, resolve }));
    waiting = undefined;
    const seen = tookMs;
    tookMs = [];
    return [median(seen), seen.length];
  },
});
