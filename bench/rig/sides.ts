/** Both sides of a measurement with many clients: rowcast, and a bare server that sends the same bytes. */
import { WebSocket } from 'ws';
import { freePort } from '../../src/dev/port.ts';
import { createMessages, watch } from './messages.ts';
import type { Peer } from './peer.ts';
import type { Rig } from './rig.ts';

/** A server with its clients. */
export interface Side {
  /** Of the server. */
  readonly pid: number;
  readonly receivers: Peer;
  /** Commits one row, and has the server send its frame. */
  commit(): Promise<void>;
}

export interface Sides {
  readonly rowcast: Side;
  readonly bare: Side;
}

const SUBSCRIBE = JSON.stringify({ type: 'subscribe', id: '1', topic: 'messages' });

/** Starts both servers. Their clients connect when they are told to. */
export async function startSides(rig: Rig, name: string): Promise<Sides> {
  const { url, insert } = await watchedMessages(rig, name);
  const instance = await rig.instance(url);
  const [welcome, subscribed, change] = await framesOf(instance.port, insert);
  // The same work for PostgreSQL and the writer, so that the servers have the same machine; but nobody listens.
  const { insert: insertUnheard } = await watchedMessages(rig, `${name}_bare`);
  const port = await freePort();
  const bare = await rig.peer('bare-server', port, change, welcome, subscribed);
  return {
    rowcast: {
      pid: instance.pid,
      receivers: await rig.peer('receivers', instance.port, SUBSCRIBE),
      commit: insert,
    },
    bare: {
      pid: bare.pid,
      receivers: await rig.peer('receivers', port, SUBSCRIBE),
      async commit() {
        await insertUnheard();
        bare.tell('publish');
      },
    },
  };
}

/** A database of its own with the table, and what commits a row to it. */
async function watchedMessages(rig: Rig, name: string): Promise<{ url: string; insert(): Promise<void> }> {
  const url = await rig.database(name);
  const writer = await rig.client(url);
  // Else the disk sets the rate.
  await writer.query('set synchronous_commit = off');
  await writer.query(createMessages('messages'));
  await writer.query(watch('messages'));
  return {
    url,
    async insert() {
      await writer.query('insert into messages (content) values ($1)', ['hello world, this is a message']);
    },
  };
}

/** The frames that a client of rowcast gets: `welcome`, `subscribed`, and a `change`. */
async function framesOf(port: number, commit: () => Promise<void>): Promise<[string, string, string]> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
  const frames: string[] = [];
  let wake = () => {};
  socket.on('message', (data) => {
    frames.push(data.toString());
    wake();
  });
  async function next(): Promise<string> {
    for (;;) {
      const frame = frames.shift();
      if (frame !== undefined) return frame;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  }
  const welcome = await next();
  socket.send(SUBSCRIBE);
  const subscribed = await next();
  await commit();
  const change = await next();
  socket.close();
  return [welcome, subscribed, change];
}
