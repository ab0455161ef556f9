/** A client of rowcast that knows how long each change took to it. Arguments: the service's port, the topic. */
import { clockMs } from '../rig/clock.ts';
import { answer } from '../rig/peer.ts';
import { quantile } from '../rig/statistics.ts';
import { openClient } from './socket.ts';

const [port = '', topic = ''] = process.argv.slice(2);
const WELCOME = Buffer.from('{"type":"welcome"');
const CHANGE = Buffer.from('{"type":"change"');
const SUBSCRIBED = Buffer.from('{"type":"subscribed"');
const SENT_AT = Buffer.from('"content": "');

let changes = 0;
let tookMs: number[] = [];
let wake = () => {};

const client = openClient(Number(port), (text) => {
  if (text.subarray(0, WELCOME.length).equals(WELCOME)) {
    client.send(JSON.stringify({ type: 'subscribe', id: '1', topic }));
  } else if (text.subarray(0, CHANGE.length).equals(CHANGE)) {
    const start = text.indexOf(SENT_AT) + SENT_AT.length;
    const sentMs = Number.parseFloat(text.toString('latin1', start, text.indexOf('"', start)));
    // Rows that do not say when they were sent are counted alone.
    if (!Number.isNaN(sentMs)) tookMs.push(clockMs() - sentMs);
    changes++;
    wake();
  } else if (text.subarray(0, SUBSCRIBED.length).equals(SUBSCRIBED)) {
    answer({
      /** Waits for so many more changes; gives the median and the 99th percentile of what they took. */
      async took(count = 0) {
        while (changes < count) await new Promise<void>((resolve) => (wake = resolve));
        if (changes > count) throw new Error(`${changes} changes came where ${count} were committed`);
        changes = 0;
        const seen = tookMs;
        tookMs = [];
        return [quantile(seen, 0.5), quantile(seen, 0.99)];
      },
    });
  }
});
