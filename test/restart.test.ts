/**
 * Restarts of a server that crashed: it gives the ids of transactions that left nothing in its log to others, and a
 * snapshot from before takes those for over.
 */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createReplay } from '../src/catch-up/replay.ts';
import { createCatchUp } from '../src/catch-up.ts';
import type { Page } from '../src/commit.ts';
import { createFeed } from '../src/feed.ts';
import { readCursor, spellCursor } from '../src/position/cursor.ts';
import { parseSnapshot, positionAt, withCommit } from '../src/position.ts';
import type { LogReader } from '../src/postgres/log.ts';
import { createRing } from '../src/ring.ts';
import { createRouter } from '../src/router.ts';
import { Subscription } from '../src/session/subscriptions.ts';
import { canonicalTopic, channelTopic } from '../src/topic.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { type Server, startServer } from './harness/server.ts';
import type { Socket } from './harness/socket.ts';

describe('a client that comes back after one', () => {
  let server: Server;
  let instance: Instance;
  beforeEach(async () => {
    // What is not committed stays out of the log for long.
    server = await startServer({ wal_writer_delay: '10s' });
    await server.query(
      `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
    );
    instance = await startInstance(server.url);
  });
  afterEach(async () => {
    await instance.stop();
    await server.dispose();
  });

  const idsOf = ({ frames }: Socket) =>
    frames.flatMap(({ changes = [] }) => (changes as { key: { id: number } }[]).map(({ key }) => key.id));

  it('gets what was committed under ids that its cursor took for over', async () => {
    await server.query('insert into item values (0)');
    const burning = await server.client();
    for (let n = 0; n < 20; n++) await burning.query('begin; select pg_current_xact_id(); rollback');
    burning.on('error', () => undefined);
    const first = await instance.client();
    first.send({ type: 'subscribe', id: 'a', topic: 'item', snapshot: true });
    const cursor = String((await first.next('snapshot'))['cursor']);
    await first.close();
    const lost = instance.observed.since();
    await server.stop('immediate');
    await lost.next('listener.lost');
    await server.start();
    await lost.next('feed.caught_up');
    const xids: bigint[] = [];
    for (let id = 1; id <= 10; id++) {
      const { rows } = await server.query<{ xid: string }>(
        'insert into item values ($1) returning pg_current_xact_id()::text as xid',
        [id],
      );
      xids.push(BigInt(rows[0]?.xid ?? ''));
    }
    const { snapshot } = readCursor(cursor).position;
    expect(xids.filter((xid) => xid < snapshot.xmax).length).toBeGreaterThan(0);
    const back = await instance.client();
    back.send({ type: 'subscribe', id: 'a', topic: 'item', since: cursor });
    await until(() => idsOf(back).length >= 10, { what: 'all of it came' });
    expect(idsOf(back)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    await back.close();
  });
});

const STREAM = 'abc';
const snapshot = (text: string, atUs: bigint) => parseSnapshot(text, atUs);
const pageOf = (xid: bigint, cursor: string): Page => ({
  xid,
  id: xid,
  at: '2026-01-02T03:04:05Z',
  changes: [],
  message: {
    op: 'message',
    topic: canonicalTopic(channelTopic('a')),
    wire: `"event":"of ${xid}","payload":null,"from":null`,
  },
  changesFollow: false,
  parts: 1,
  skipParts: 0,
  first: true,
  last: true,
  cursor,
});

/** Reads of a log that is as its test says. */
function logOf(reads: LogReader['read']): LogReader {
  return { read: reads };
}

describe('while a client is caught up', () => {
  it('the ring is not asked by what it took for over before', async () => {
    const old = positionAt(snapshot('100:100:', 10n));
    const fresh = snapshot('95:95:', 30n);
    const ring = createRing(1_000_000);
    const before = positionAt(snapshot('90:90:', 5n));
    ring.restart(spellCursor(STREAM, before));
    // Committed after the restart, under an id that is not new.
    ring.add(pageOf(95n, spellCursor(STREAM, withCommit(before, 95n))));
    const topic = canonicalTopic(channelTopic('a'));
    const router = createRouter({ publish() {}, cursor: () => 'now', observe() {} });
    router.addMessages(topic, topic);
    const log = logOf(async (_from, begin) => {
      await begin({
        snapshot: fresh,
        prunedXid: 0n,
        stream: STREAM,
        restartedAtUs: 20n,
        // It is not committed yet when the log is read.
        reusedFrom: async () => null,
        tooFar: async () => null,
      });
      return fresh;
    });
    const sent: string[] = [];
    const subscription = new Subscription('a', '#a');
    const held = {
      kind: 'messages',
      parsed: channelTopic('a'),
      key: topic,
      name: topic,
      holders: 1,
    } as const;
    subscription.topic = { ...held };
    const catchUp = createCatchUp({
      feed: {
        position: positionAt(fresh),
        stream: STREAM,
        restartedAtUs: 20n,
        advance: async () => undefined,
      },
      ring,
      router,
      replay: createReplay(log),
      rows: { read: async () => null },
      tables: { find: async () => undefined },
      onStale() {},
      observe() {},
      limits: { maxRows: 1 },
    });
    const client = {
      id: 's',
      send: (text: string) => sent.push(text),
      bufferedBytes: 0,
      goLive: () => 'now',
    };
    await catchUp(client, subscription, { since: spellCursor(STREAM, old) });
    expect(sent.map((text) => JSON.parse(text)).map(({ type, event }) => event ?? type)).toEqual([
      'subscribed',
      'of 95',
      'live',
    ]);
  });
});

describe('the feed', () => {
  it('does not take a commit for known by what was over before', async () => {
    const pages: bigint[] = [];
    let release: (() => void) | undefined;
    const snapshots = [snapshot('100:100:', 10n), snapshot('95:95:', 30n)];
    const feed = createFeed({
      log: logOf(async (_from, begin) => {
        const [now = snapshot('96:96:', 40n)] = snapshots.splice(0, 1);
        await begin({
          snapshot: now,
          prunedXid: 0n,
          stream: STREAM,
          restartedAtUs: 20n,
          reusedFrom: async () => null,
          tooFar: async () => null,
        });
        await new Promise<void>((resolve) => (release = resolve));
        return now;
      }),
      onPage: ({ xid }) => void pages.push(xid),
      onBegin() {},
      onRecalled() {},
      onGap() {},
      onRespelled() {},
      onWatchingChanged: async () => undefined,
      onAnnounced() {},
      observe() {},
    });
    const started = feed.start();
    feed.onConnected();
    await until(() => release !== undefined, { what: 'it reads' });
    release?.();
    await started;
    feed.onLost('the server crashed');
    feed.onConnected();
    await until(() => snapshots.length === 0, { what: 'it reads again' });
    feed.onNotification('95 1 "2026-01-02T03:04:05Z"\n');
    release?.();
    await until(() => feed.state === 'live', { what: 'it is live' });
    await until(() => pages.length > 0, { what: 'it hands the commit on' });
    expect(pages).toEqual([95n]);
    release?.();
    await feed.stop();
  });
});
