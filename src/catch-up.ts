/**
 * Catching up: brings a subscription from where its client is to live.
 *
 * A client that was away is served from the ring, without a query, or where that does not reach back, from the log;
 * one that asks for a snapshot gets the rows of a moment and then what came after it, in the same way. Either ends in
 * one turn: the last frames are sent, and the socket hears the topic from there on. It promises that the client gets
 * what it lacks exactly once, and that no client makes another wait, nor itself be held in memory beyond a bound.
 */
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { faultOf, isOfTable } from './catch-up/fault.ts';
import { overRows, parseOrder, type RowsOptions } from './catch-up/order.ts';
import { FULL_BYTES, type Replay } from './catch-up/replay.ts';
import { Track } from './catch-up/track.ts';
import { linesIn } from './commit.ts';
import type { Feed } from './feed.ts';
import type { HeldTopic } from './hub/resolved.ts';
import { type Observe, reasonOf } from './observation.ts';
import { readCursor, spellCursor } from './position/cursor.ts';
import { contains, includes, positionAt, withCommit } from './position.ts';
import type { WatchedTable } from './postgres/catalog.ts';
import type { RowReader } from './postgres/rows.ts';
import { encode, encodeSnapshot, ProtocolError, type ResetReason } from './protocol.ts';
import type { Ring, RingCommit } from './ring.ts';
import type { Router } from './router.ts';
import type { CatchUp, CatchUpClient, CatchUpRequest } from './session/host.ts';
import type { Subscription } from './session/subscriptions.ts';

export interface CatchUpOptions {
  feed: Pick<Feed, 'position' | 'stream' | 'restartedAtUs' | 'advance'>;
  ring: Pick<Ring, 'missing'>;
  router: Pick<Router, 'select' | 'settled'>;
  replay: Replay;
  rows: RowReader;
  tables: { find(schema: string, name: string): Promise<WatchedTable | undefined> };
  /** A table is not what the catalog says. */
  onStale(): void;
  observe: Observe;
  limits: RowsOptions;
}

/** How often a client that has enough to read is looked at. */
const DRAIN_LOOK_MS = 20;
/** Past so many commits the log is the shorter way for a cursor that is not the feed's own: each has to be spelled. */
const MAX_INEXACT = 256;
/** How long it may take before its connection is given up: the watch over slow clients goes by bytes alone. */
const DRAIN_MS = 30_000;

export function createCatchUp(options: CatchUpOptions): CatchUp {
  const { feed, ring, router, replay, rows, tables, onStale, observe, limits } = options;

  /** Brings a track to the ring, out of the ring, and live. */
  async function join(track: Track): Promise<ResetReason | null> {
    let advanced = false;
    let source: 'ring' | 'log' = 'ring';
    while (!track.ended) {
      // Within a large commit frames wait in the router: who joins then would miss or double them.
      if (!router.settled) {
        await delay(DRAIN_LOOK_MS);
        continue;
      }
      const missing = ring.missing(track.cursor, track.position);
      const inexact = missing === null ? 0 : (missing.exactFrom ?? missing.commits.length);
      if (missing === null || inexact > MAX_INEXACT || (!missing.exact && isOld(track))) {
        source = 'log';
        advanced = false;
        const end = await replay.run(track);
        if (end === 'pruned') return 'cursor_expired';
        if (end === 'stream changed') return 'stream_changed';
        await drained(track);
        continue;
      }
      if (missing.exactFrom === null && !contains(feed.position, track.position)) {
        // Its client has seen commits that this instance has not heard of yet.
        if (advanced) return 'stream_changed';
        await feed.advance('snapshot');
        advanced = true;
        continue;
      }
      const commits = brokenFirst(missing.commits, track);
      const sentBefore = track.sent;
      let taken = 0;
      for (const { xid, parts, pages } of commits) {
        let offset = 0;
        for (const page of pages) {
          track.take(
            page,
            offset,
            (base) => withCommit(base, xid, parts),
            taken >= inexact && page.last ? page.cursor : null,
          );
          offset += linesIn(page);
        }
        taken++;
        // What has not left by now leaves in later turns.
        if (track.sent - sentBefore > FULL_BYTES && track.client.bufferedBytes > FULL_BYTES) break;
      }
      if (taken < commits.length) {
        await drained(track);
        continue;
      }
      goLive(track, source);
      return null;
    }
    return null;
  }

  /** From before a restart of the server: what it takes for over may have been given anew. A read of the log can tell. */
  function isOld({ position }: Track): boolean {
    return position.snapshot.atUs < feed.restartedAtUs;
  }

  function goLive(track: Track, source: 'ring' | 'log'): void {
    const { client, subscription, topic } = track;
    const cursor = client.goLive(subscription);
    if (cursor === undefined) return;
    client.send(encode({ type: 'live', id: subscription.id, topic, cursor }));
    observe({ type: 'subscription.resumed', source, commits: track.commits });
  }

  function reset(
    { client, subscription, topic }: Pick<Track, 'client' | 'subscription' | 'topic'>,
    reason: ResetReason,
  ): void {
    const cursor = client.goLive(subscription);
    if (cursor === undefined) return;
    client.send(encode({ type: 'reset', id: subscription.id, topic, reason, cursor }));
    observe({ type: 'subscription.resumed', source: 'reset', commits: 0 });
  }

  /** Waits until the client has read most of what it was sent. */
  async function drained({ client, subscription }: Pick<Track, 'client' | 'subscription'>): Promise<void> {
    for (
      let waited = 0;
      client.bufferedBytes > FULL_BYTES / 2 && !subscription.hasEnded;
      waited += DRAIN_LOOK_MS
    ) {
      if (waited > DRAIN_MS)
        throw new ProtocolError('unavailable', 'the client does not read what it asked for');
      await delay(DRAIN_LOOK_MS);
    }
  }

  async function tableOf({ relation, parsed }: HeldTable): Promise<WatchedTable> {
    const table = await tables.find(parsed.schema, parsed.table);
    if (table?.relation !== relation) throw tableChanged();
    return table;
  }

  async function resume(
    client: CatchUpClient,
    subscription: Subscription,
    topic: HeldTopic,
    since: string,
  ): Promise<void> {
    const { stream, position } = readCursor(since);
    const table = topic.kind === 'table' ? await tableOf(topic) : null;
    if (subscription.hasEnded) return;
    client.send(encode({ type: 'subscribed', id: subscription.id, topic: topic.name, cursor: since }));
    const track = new Track(client, subscription, topic.name, router.select(topic.key), {
      stream,
      position,
      cursor: since,
    });
    let reason: ResetReason | null = null;
    if (stream !== feed.stream) reason = 'stream_changed';
    else if (table !== null && !includes(position, table.since)) reason = 'cursor_expired';
    else reason = await join(track);
    if (reason !== null) reset(track, reason);
  }

  async function snapshot(
    client: CatchUpClient,
    subscription: Subscription,
    topic: HeldTopic,
    request: Extract<CatchUpRequest, { snapshot: unknown }>['snapshot'],
  ): Promise<void> {
    if (topic.kind !== 'table')
      throw new ProtocolError('bad_topic', `${topic.name} has messages, no rows; leave out "snapshot"`);
    const table = await tableOf(topic);
    const { limit, order } = parseOrder(request === true ? {} : request, table, limits);
    if (subscription.hasEnded) return;
    const { id } = subscription;
    client.send(encode({ type: 'subscribed', id, topic: topic.name }));
    let last: readonly string[] | null = null;
    let count = 0;
    const moment = await rows.read({ table, filters: topic.parsed.filters, order, limit }, async (page) => {
      if (subscription.hasEnded) throw new Gone();
      if (last !== null)
        client.send(encodeSnapshot({ id, topic: topic.name, rows: last, cursor: undefined }));
      last = page;
      count += page.length;
      if (count > limits.maxRows) throw overRows(limits);
      // Others have their turn between two pages.
      await turn();
      await drained({ client, subscription });
    });
    if (moment === null) throw tableChanged();
    if (subscription.hasEnded) return;
    const position = positionAt(moment.snapshot);
    const cursor = spellCursor(moment.stream, position);
    client.send(encodeSnapshot({ id, topic: topic.name, rows: last ?? [], cursor }));
    const track = new Track(client, subscription, topic.name, router.select(topic.key), {
      stream: moment.stream,
      position,
      cursor,
    });
    const reason = await join(track);
    if (reason !== null) reset(track, reason);
  }

  return async (client, subscription, request) => {
    const { topic } = subscription;
    if (topic === null) return;
    try {
      if ('since' in request) await resume(client, subscription, topic, request.since);
      else await snapshot(client, subscription, topic, request.snapshot);
    } catch (error) {
      if (error instanceof Gone) return;
      if (error instanceof ProtocolError) throw error;
      observe({ type: 'feed.read_failed', reason: 'snapshot', error: reasonOf(error), retryInMs: 0 });
      if (isOfTable(error)) throw tableChanged(error);
      throw new ProtocolError('unavailable', faultOf(error), { cause: error });
    }
  };

  /** What to say where the table is no longer what the topic was made for; the tables are looked at anew. */
  function tableChanged(cause?: unknown): ProtocolError {
    onStale();
    return new ProtocolError('unavailable', 'the table has just been changed; subscribe again', { cause });
  }
}

/** What was broken off in the middle goes on before anything else. */
function brokenFirst(commits: readonly RingCommit[], { position }: Track): readonly RingCommit[] {
  const broken = commits.find(({ xid }) => xid === position.partial?.xid);
  return broken === undefined ? commits : [broken, ...commits.filter((one) => one !== broken)];
}

type HeldTable = Extract<HeldTopic, { kind: 'table' }>;

/** Nobody waits for the rest. */
class Gone extends Error {}
