/** A client of rowcast over WebSocket. Arguments: the service's port, the topic. */
import { clockMs } from '../rig/clock.ts';
import { answerWithArrivals, cameAt } from './arrivals.ts';
import { openClient } from './socket.ts';

const [port = '', topic = ''] = process.argv.slice(2);
const WELCOME = Buffer.from('{"type":"welcome"');
const CHANGE = Buffer.from('{"type":"change"');
const SUBSCRIBED = Buffer.from('{"type":"subscribed"');

const client = openClient(Number(port), (text) => {
  const ms = clockMs();
  const is = (beginning: Buffer) => text.subarray(0, beginning.length).equals(beginning);
  if (is(CHANGE)) cameAt(ms);
  else if (is(WELCOME)) client.send(JSON.stringify({ type: 'subscribe', id: '1', topic }));
  else if (is(SUBSCRIBED)) answerWithArrivals();
});
