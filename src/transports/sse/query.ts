/** What a stream's URL asks for. */
import { ProtocolError, type SnapshotRequest, type SubscribeFrame } from '../../protocol.ts';
import { readPlaces } from './places.ts';

export interface StreamRequest {
  /** As the URL spells them, in its order. */
  readonly topics: readonly string[];
  /** Of each topic the cursor that it begins at, or nothing. */
  readonly begun: readonly string[];
  /** One for each topic; its id is the topic's place, from 1 on. */
  readonly subscriptions: readonly SubscribeFrame[];
}

const ONCE = ['since', 'limit', 'order', 'token'] as const;
const KNOWN = new Set<string>([...ONCE, 'topic', 'snapshot']);

/**
 * Reads a query; `lastEventId` is the header of that name, which counts before the `since` of a URL that it was sent
 * with again. Throws `bad_frame`, `bad_cursor`, or `limit_exceeded`.
 */
export function readQuery(
  query: string,
  lastEventId: string,
  { maxSubscriptions }: { maxSubscriptions: number },
): StreamRequest {
  const given = new URLSearchParams(query);
  for (const name of given.keys()) {
    if (KNOWN.has(name)) continue;
    throw bad(
      `there is no parameter ${JSON.stringify(name)}; a topic with "&" in it must be percent-encoded as a whole`,
    );
  }
  for (const name of ONCE) if (given.getAll(name).length > 1) throw bad(`"${name}" is there twice`);
  const topics = given.getAll('topic');
  if (topics.length === 0) throw bad('say what to hear: /sse?topic=…, as often as there are topics');
  if (topics.length > maxSubscriptions)
    throw new ProtocolError(
      'limit_exceeded',
      `a connection may hold ${maxSubscriptions} subscriptions; this asks for ${topics.length} topics`,
    );
  const twice = topics.find((topic, index) => topics.indexOf(topic) !== index);
  if (twice !== undefined) throw bad(`the topic ${JSON.stringify(twice)} is there twice`);

  const begun = begunAt(given.get('since'), lastEventId, topics);
  const snapshot = readSnapshot(given, topics);
  const subscriptions = topics.map((topic, index): SubscribeFrame => {
    const frame = { type: 'subscribe', id: String(index + 1), topic } as const;
    const since = begun[index];
    if (since) return { ...frame, since };
    return snapshot?.of(topic) ? { ...frame, snapshot: snapshot.request } : frame;
  });
  return { topics, begun, subscriptions };
}

function begunAt(since: string | null, lastEventId: string, topics: readonly string[]): readonly string[] {
  if (lastEventId !== '') return readPlaces(lastEventId, topics);
  if (since === null) return topics.map(() => '');
  // Taken for none, it would begin now, and the gap would be silent.
  if (since === '') throw new ProtocolError('bad_cursor', '"since" is empty; leave it out to start now');
  return readPlaces(since, topics);
}

function readSnapshot(
  given: URLSearchParams,
  topics: readonly string[],
): { of(topic: string): boolean; request: true | SnapshotRequest } | null {
  const wanted = given.getAll('snapshot').filter((one) => one !== 'false');
  const limit = given.get('limit');
  const order = given.get('order');
  if (wanted.length === 0) {
    if (limit === null && order === null) return null;
    throw bad('"limit" and "order" are of a snapshot; ask for one by snapshot=true');
  }
  const unknown = wanted.find((one) => one !== 'true' && !topics.includes(one));
  if (unknown !== undefined)
    throw bad(
      `"snapshot" must be true, or one of the topics as it is written there; it is ${JSON.stringify(unknown)}`,
    );
  if (order === '') throw bad('"order" is empty; write it like order=id.desc');
  const request: SnapshotRequest = {
    ...(limit === null ? {} : { limit: limitOf(limit) }),
    ...(order === null ? {} : { order }),
  };
  const all = wanted.includes('true');
  return {
    // Channels have no rows: of them nobody means a snapshot by `true`.
    of: (topic) => wanted.includes(topic) || (all && !/^[#@]/.test(topic)),
    request: Object.keys(request).length === 0 ? true : request,
  };
}

function limitOf(text: string): number {
  const limit = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(limit) && limit >= 1) return limit;
  throw bad(`"limit" must be a whole number, 1 or more; it is ${JSON.stringify(text)}`);
}

function bad(message: string): ProtocolError {
  return new ProtocolError('bad_frame', message);
}
