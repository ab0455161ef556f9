/** Commits at a steady rate, each of one row of one room, by a few connections that share the rooms among them. */
import pg from 'pg';
import { pause } from '../oracle/pause.ts';

/** What is written to, and published to all. */
export const TABLE = `create table item (room_id int, n int, primary key (room_id, n));
  select rowcast.watch('item', access => 'public')`;

export interface Writing {
  /** By room, how many changes were committed to it. */
  readonly committed: ReadonlyMap<number, number>;
  /** Ends it; gives how many commits there were. Rejects where one failed. */
  stop(): Promise<number>;
}

export interface WritingOptions {
  databaseUrl: string;
  rooms: number;
  perSecond: number;
}

const CONNECTIONS = 4;

/** Begins. */
export function startWriting({ databaseUrl, rooms, perSecond }: WritingOptions): Writing {
  const committed = new Map<number, number>();
  const everyMs = (1_000 * CONNECTIONS) / perSecond;
  let goesOn = true;

  async function write(own: readonly number[], beginsMs: number): Promise<number> {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    let count = 0;
    let due = performance.now() + beginsMs;
    try {
      for (; goesOn; count++) {
        const room = own[count % own.length] ?? 1;
        const n = (committed.get(room) ?? 0) + 1;
        await client.query({ name: 'w', text: 'insert into item values ($1, $2)', values: [room, n] });
        committed.set(room, n);
        // What a pause of the database held up is not made up for.
        due = Math.max(due + everyMs, performance.now() - 1_000);
        if (due > performance.now()) await pause(due - performance.now());
      }
    } finally {
      await client.end();
    }
    return count;
  }

  const all = Array.from({ length: rooms }, (_, n) => n + 1);
  const writers = Array.from({ length: CONNECTIONS }, (_, k) =>
    write(
      all.filter((room) => room % CONNECTIONS === k),
      (k * everyMs) / CONNECTIONS,
    ),
  );
  const ended = Promise.all(writers);
  // Told to whoever stops it.
  ended.catch(() => {
    goesOn = false;
  });
  return {
    committed,
    async stop() {
      goesOn = false;
      return (await ended).reduce((sum, count) => sum + count, 0);
    },
  };
}
