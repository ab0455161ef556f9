/**
 * The barest server that does what rowcast's does to sockets: it welcomes a client, answers its one frame by
 * subscribing it, and publishes. Nothing stands behind it.
 *
 * Arguments: port, the frame to publish, the welcome, the answer.
 */
import uWS, { type us_listen_socket } from 'uWebSockets.js';
import { answer } from '../rig/peer.ts';

const [port = '', frame = '', welcome = '', answered = ''] = process.argv.slice(2);
const TOPIC = 'all';

const app = uWS.App();
app.ws('/ws', {
  maxBackpressure: 0,
  closeOnBackpressureLimit: 0,
  idleTimeout: 60,
  sendPingsAutomatically: true,
  compression: uWS.DISABLED,
  open: (socket) => {
    socket.send(welcome);
  },
  message: (socket) => {
    socket.subscribe(TOPIC);
    socket.send(answered);
  },
});
app.listen('127.0.0.1', Number(port), (socket: us_listen_socket | false) => {
  if (!socket) throw new Error(`cannot listen on ${port}`);
  answer({
    publish() {
      app.publish(TOPIC, frame);
      return [];
    },
  });
});
