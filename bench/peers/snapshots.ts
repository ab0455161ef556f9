/** One client that takes snapshots back to back. Arguments: the service's port, the topic, the rows of a snapshot. */
import { clockMs } from '../rig/clock.ts';
import { answer } from '../rig/peer.ts';
import { openClient } from './socket.ts';

const [port = '', topic = '', rows = ''] = process.argv.slice(2);
const SUBSCRIBE = JSON.stringify({ type: 'subscribe', id: '1', topic, snapshot: { limit: Number(rows) } });
const UNSUBSCRIBE = JSON.stringify({ type: 'unsubscribe', id: '1' });
const TYPE = '{"type":"'.length;
const ROW = Buffer.from('"room_id"');

let goesOn = false;
let counts = false;
let counted = 0;
let begunMs = 0;
let tookMs: number[] = [];
let onLive = () => {};
let onStopped: (() => void) | undefined;

const client = openClient(Number(port), (text) => {
  switch (text.toString('latin1', TYPE, text.indexOf('"', TYPE))) {
    case 'snapshot':
      if (counts) counted += countRows(text);
      break;
    case 'live':
      tookMs.push(clockMs() - begunMs);
      client.send(UNSUBSCRIBE);
      break;
    case 'unsubscribed':
      onLive();
      if (goesOn) begin();
      else onStopped?.();
      break;
    case 'error':
      throw new Error(String(text));
  }
});

function begin(): void {
  begunMs = clockMs();
  client.send(SUBSCRIBE);
}

function countRows(text: Buffer): number {
  let count = 0;
  for (let at = text.indexOf(ROW); at >= 0; at = text.indexOf(ROW, at + 1)) count++;
  return count;
}

answer({
  /** Takes one, and gives how many rows it had. */
  async one() {
    counts = true;
    counted = 0;
    const live = new Promise<void>((resolve) => (onLive = resolve));
    begin();
    await live;
    counts = false;
    return [counted];
  },
  /** Begins, and takes the next when one is complete. */
  start() {
    goesOn = true;
    tookMs = [];
    begin();
    return [];
  },
  /** Ends with the one under way; gives how long each took. */
  async stop() {
    goesOn = false;
    await new Promise<void>((resolve) => (onStopped = resolve));
    return tookMs;
  },
});
