/** A client of rowcast over WebSocket. Arguments: the service's port, the topic. */
import { WebSocket } from 'ws';
import { clockMs } from '../rig/clock.ts';
import { answerWithArrivals, cameAt } from './arrivals.ts';

const [port = '', topic = ''] = process.argv.slice(2);
const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
socket.on('open', () => socket.send(JSON.stringify({ type: 'subscribe', id: '1', topic })));
socket.on('message', (data) => {
  const ms = clockMs();
  const text = data.toString();
  if (text.startsWith('{"type":"change"')) cameAt(ms);
  else if (text.startsWith('{"type":"subscribed"')) answerWithArrivals();
});
