/** A stream of three topics that is cut at random and resumed by its last event id, while commits go on. */
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { createDatabase, type Database } from './harness/database.ts';
import { openEventStream } from './harness/event-stream.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import type { Frame } from './harness/socket.ts';
import { createRandom, type Random } from './oracle/random.ts';

const TOPICS = ['item?grp=eq.1', 'item:insert', 'note'];
const SEARCH = `${TOPICS.map((topic) => `topic=${encodeURIComponent(topic)}`).join('&')}&snapshot=note`;
const TRANSACTIONS = 250;
const NOTES = 2_000;
/** Characters of a stream before it is cut: in the midst of small commits, or of one of several pages. */
const MOST_CHARS = { small: 60_000, large: 1_500_000 };

let database: Database;
let instances: [Instance, Instance];
beforeEach(async () => {
  database = await createDatabase();
  await database.query(`
    create table item (id int primary key, grp int not null);
    create table note (id int primary key, filler text);
    select rowcast.watch('item', access => 'public');
    select rowcast.watch('note', access => 'public');
    create sequence ids`);
  // One resumes from memory, the other mostly from the log.
  instances = [
    await startInstance(database.url),
    await startInstance(database.url, { ROWCAST_RING_BYTES: '64KiB' }),
  ];
});
afterEach(async () => {
  for (const instance of instances) await instance.stop();
  await database.drop();
});

interface Row {
  id: number;
}
/** What a page keeps of the stream: of each topic the ids, in the order in which they came. */
interface Page {
  readonly seen: Map<string, number[]>;
  lastEventId: string;
}

function take({ seen }: Page, frame: Frame): void {
  const topic = String(frame['topic']);
  // A snapshot that broke off is worth nothing.
  if (frame.type === 'subscribed' && frame['cursor'] === undefined) seen.set(topic, []);
  const ids = seen.get(topic) ?? [];
  seen.set(topic, ids);
  if (frame.type === 'snapshot') ids.push(...(frame['rows'] as Row[]).map(({ id }) => id));
  if (frame.type === 'change') ids.push(...(frame['changes'] as { key: Row }[]).map(({ key }) => key.id));
}

function charsOf(random: Random): number {
  return random.below(random.chance(0.5) ? MOST_CHARS.large : MOST_CHARS.small);
}

/** Small ones and large ones, of one table and of both, some rolled back. */
async function writeAll(random: Random): Promise<void> {
  const client = await database.client();
  const item = (rows: number) =>
    `insert into item select nextval('ids'), floor(random() * 3) from generate_series(1, ${rows})`;
  const note = (rows: number) =>
    `insert into note select nextval('ids'), repeat('x', 20) from generate_series(1, ${rows})`;
  for (let n = 0; n < TRANSACTIONS; n++) {
    const rows = random.chance(0.1) ? 500 : random.chance(0.03) ? 6_000 : random.below(4) + 1;
    const parts = random.pick([[item(rows)], [note(rows)], [note(1), item(rows), note(1)]]);
    await client.query(`begin; ${parts.join('; ')}; ${random.chance(0.1) ? 'rollback' : 'commit'}`);
  }
  await client.end();
}

it.each([1, 2, 3])(
  'has each change exactly once (seed %d)',
  async (seed) => {
    const random = createRandom(seed);
    await database.query(`insert into note
    select nextval('ids'), repeat('x', 20) from generate_series(1, ${NOTES})`);
    const page: Page = { seen: new Map(), lastEventId: '' };
    let isWritten = false;
    let writing: Promise<void> | undefined;
    let cuts = 0;
    let longest = 0;
    while (!isWritten) {
      let left = writing === undefined ? Number.POSITIVE_INFINITY : charsOf(random);
      const stream = await openEventStream(`${random.pick(instances).http}/sse?${SEARCH}`, {
        headers: page.lastEventId === '' ? {} : { 'Last-Event-ID': page.lastEventId },
        upTo(text) {
          left -= text.length;
          return left < 0 ? Math.max(left + text.length, 0) : text.length;
        },
      });
      if (writing === undefined) {
        // Before this, nothing is promised; after it, a snapshot has begun.
        await stream.next('subscribed', ({ id }) => id === '2');
        left = charsOf(random);
        writing = writeAll(random.fork(1)).then(() => {
          isWritten = true;
        });
      }
      await Promise.race([stream.ended, writing]);
      await stream.close();
      for (const frame of stream.frames) take(page, frame);
      if (stream.lastEventId !== '') page.lastEventId = stream.lastEventId;
      longest = Math.max(longest, page.lastEventId.length);
      cuts++;
    }
    const last = await openEventStream(`${instances[0].http}/sse?${SEARCH}`, {
      headers: { 'Last-Event-ID': page.lastEventId },
    });
    for (const id of ['1', '2', '3']) await last.next('live', (frame) => frame['id'] === id);
    const [item] = (await database.query<Row>(`insert into item values (nextval('ids'), 1) returning id`))
      .rows;
    const [note] = (await database.query<Row>(`insert into note values (nextval('ids')) returning id`)).rows;
    const has = (id: number | undefined) => (frame: Frame) =>
      ((frame['changes'] as { key: Row }[] | undefined) ?? []).some(({ key }) => key.id === id);
    await last.next('change', has(note?.id));
    await last.next('change', (frame) => frame['topic'] === 'public.item:insert' && has(item?.id)(frame));
    await last.close();
    for (const frame of last.frames) take(page, frame);

    expect(last.frames.map(({ type }) => type)).not.toContain('reset');
    const idsIn = async (sql: string) => (await database.query<Row>(sql)).rows.map(({ id }) => id);
    const sorted = (topic: string) => [...(page.seen.get(topic) ?? [])].sort((a, b) => a - b);
    expect(sorted('public.item:insert')).toEqual(await idsIn('select id from item order by id'));
    expect(sorted('public.item?grp=eq.1')).toEqual(
      await idsIn('select id from item where grp = 1 order by id'),
    );
    expect(sorted('public.note')).toEqual(await idsIn('select id from note order by id'));
    expect(cuts).toBeGreaterThan(3);
    // It is sent back as a header.
    expect(longest).toBeLessThan(4_000);
  },
  60_000,
);
