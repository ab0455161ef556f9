/**
 * The barest relay from PostgreSQL to WebSocket: it LISTENs, and publishes what it hears as it is. It loses what comes
 * while it is not connected, and knows neither tables nor cursors.
 *
 * Arguments: the database's URL, the channel, the port.
 */

import uWS, { type us_listen_socket } from 'uWebSockets.js';
import pg from 'pg';
import { answer } from '../rig/peer.ts';

const [url = '', channel = '', port = ''] = process.argv.slice(2);
const TOPIC = 'all';

const app = uWS.App();
app.ws('/ws', {
  idleTimeout: 60,
  sendPingsAutomatically: true,
  compression: uWS.DISABLED,
  open: (socket) => {
    socket.send('{"type":"welcome"}');
  },
  message: (socket) => {
    socket.subscribe(TOPIC);
    socket.send('{"type":"subscribed"}');
  },
});

const client = new pg.Client({ connectionString: url });
client.on('notification', ({ payload = '' }) => {
  app.publish(TOPIC, `{"type":"change","payload":${JSON.stringify(payload)}}`);
});
await client.connect();
await client.query(`listen ${channel}`);

app.listen('127.0.0.1', Number(port), (socket: us_listen_socket | false) => {
  if (!socket) throw new Error(`cannot listen on ${port}`);
  answer({});
});
