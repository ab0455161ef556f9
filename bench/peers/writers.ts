/**
 * Writers: up to as many connections as are asked for at once, each of which commits one row after the other.
 *
 * Argument: the database's URL. Tables are numbered from 0: `untouched`, `naive`, `watched`, `logged`.
 */
import pg from 'pg';
import { clockMs } from '../rig/clock.ts';
import { answer } from '../rig/peer.ts';

const [url = ''] = process.argv.slice(2);
const TABLES = ['untouched', 'naive', 'watched', 'logged'];
const clients: pg.Client[] = [];

answer({
  /** Opens so many connections, whose commits take so much longer to be flushed. */
  async connect(count = 0, delayUs = 0) {
    while (clients.length < count) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.query('set commit_siblings = 0');
      clients.push(client);
    }
    for (const client of clients) await client.query(`set commit_delay = ${delayUs}`);
    return [];
  },
  /**
   * Writes to a table with so many of the connections, for so long after a lead-in. Gives how many transactions a
   * second there were after the lead-in, and how many in all. Rows say when they were sent, but in the lead-in.
   */
  async write(table = 0, connections = 0, leadInMs = 0, forMs = 0) {
    const name = TABLES[table];
    const text = `insert into ${name} (content) values ($1)`;
    const begunMs = clockMs() + leadInMs;
    const endMs = begunMs + forMs;
    let all = 0;
    let counted = 0;
    async function writeOn(client: pg.Client): Promise<void> {
      for (let sentMs = clockMs(); sentMs < endMs; sentMs = clockMs()) {
        const content = sentMs < begunMs ? 'hello world' : sentMs.toFixed(3);
        await client.query({ name, text, values: [content] });
        all++;
        if (sentMs >= begunMs) counted++;
      }
    }
    await Promise.all(clients.slice(0, connections).map(writeOn));
    return [(counted * 1000) / (clockMs() - begunMs), all];
  },
});
