/** The id of a stream: where each of its topics is. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ProtocolError } from '../src/protocol.ts';
import { eventOf } from '../src/transports/sse/event.ts';
import { createFanOut } from '../src/transports/sse/fan-out.ts';
import { Places, readPlaces } from '../src/transports/sse/places.ts';
import { createEventParser } from './harness/event-stream.ts';

const TOPICS = ['a', 'b', 'c'];

/** The places of a stream, of which those topics begin at another time than now. */
function placesOf(topics: readonly string[], catchingUp: readonly string[] = [], begun?: readonly string[]) {
  const fanOut = createFanOut();
  const places = new Places(topics, begun ?? topics.map(() => ''), () => fanOut.settled);
  return {
    fanOut,
    take: (type: string, topic: string, cursor?: string) =>
      places.take(
        { type, topic, id: String(topics.indexOf(topic) + 1), ...(cursor === undefined ? {} : { cursor }) },
        (place) => catchingUp.includes(topics[place] ?? ''),
      ),
  };
}

describe('the id', () => {
  it('of a stream of one topic is its cursor', () => {
    const { take } = placesOf(['a']);
    expect(take('welcome', '', 'c0')).toBeUndefined();
    expect(take('subscribed', 'a', 'c1')).toBe('c1');
    expect(take('change', 'a', 'c2')).toBe('c2');
  });

  it('says of each topic what came with the frame, and of those without one what came before the commit', () => {
    const { take, fanOut } = placesOf(TOPICS);
    for (const topic of TOPICS) take('subscribed', topic, 'c1');
    fanOut.settle('c2');
    expect(readPlaces(take('change', 'b', 'c3') ?? '', TOPICS)).toEqual(['c2', 'c3', 'c2']);
    expect(readPlaces(take('change', 'c', 'c3') ?? '', TOPICS)).toEqual(['c2', 'c3', 'c3']);
    fanOut.settle('c3');
    expect(readPlaces(take('change', 'a', 'c4') ?? '', TOPICS)).toEqual(['c4', 'c3', 'c3']);
  });

  it('of what is not live yet goes by its own frames alone', () => {
    const { take, fanOut } = placesOf(TOPICS, ['b', 'c'], ['', 'c0', '']);
    const first = take('subscribed', 'a', 'c5') ?? '';
    expect(readPlaces(first, TOPICS)).toEqual(['c5', 'c0', '']);
    take('subscribed', 'b', 'c0');
    fanOut.settle('c6');
    expect(readPlaces(take('change', 'b', 'c1') ?? '', TOPICS)).toEqual(['c6', 'c1', '']);
    expect(readPlaces(take('live', 'b', 'c6') ?? '', TOPICS)).toEqual(['c6', 'c6', '']);
    expect(take('subscribed', 'c')).toBeUndefined();
    fanOut.settle('c7');
    expect(readPlaces(take('change', 'a', 'c8') ?? '', TOPICS)).toEqual(['c8', 'c7', '']);
    expect(readPlaces(take('snapshot', 'c', 'c6') ?? '', TOPICS)).toEqual(['c8', 'c7', 'c6']);
  });

  it('of a subscription that ended stays where it was', () => {
    const { take, fanOut } = placesOf(TOPICS);
    for (const topic of TOPICS) take('subscribed', topic, 'c1');
    fanOut.settle('c2');
    take('error', 'a');
    fanOut.settle('c3');
    expect(readPlaces(take('change', 'b', 'c4') ?? '', TOPICS)).toEqual(['c2', 'c4', 'c3']);
  });

  it('spells what cursors have in common once', () => {
    const { take, fanOut } = placesOf(TOPICS);
    const long = 'x'.repeat(1_000);
    for (const topic of TOPICS) take('subscribed', topic, 'c1');
    fanOut.settle(`${long}~1`);
    expect(take('change', 'b', `${long}~2`)?.length).toBeLessThan(1_030);
  });

  it('is read as it was spelled, whatever the cursors', () => {
    const cursor = fc.stringMatching(/^[0-9a-z._~*-]{0,12}$/);
    fc.assert(
      fc.property(fc.array(cursor, { minLength: 2, maxLength: 30 }), (cursors) => {
        const topics = cursors.map((_, index) => `t${index}`);
        const { take } = placesOf(topics, topics, cursors);
        const [first = ''] = topics;
        take('subscribed', first);
        const id = take('change', first, cursors[0] || 'c') ?? '';
        expect(id).toMatch(/^[!-~]*$/);
        expect(readPlaces(id, topics)).toEqual([cursors[0] || 'c', ...cursors.slice(1)]);
      }),
    );
  });

  it('of one cursor counts for every topic, and one of other topics for none', () => {
    expect(readPlaces('c1', TOPICS)).toEqual(['c1', 'c1', 'c1']);
    const { take } = placesOf(['b', 'a', 'c']);
    const id = take('subscribed', 'a', 'c1') ?? '';
    expect(() => readPlaces(id, TOPICS)).toThrow('other topics');
  });

  it('that somebody made up is a bad cursor or a list of cursors', () => {
    const { take } = placesOf(TOPICS);
    const [tag] = (take('subscribed', 'a', 'c1') ?? '').split(';');
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9c,;:=~]{0,20}$/), (made) => {
        try {
          expect(readPlaces(`${tag};${made}`, TOPICS)).toHaveLength(3);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
    );
  });
});

describe('an event', () => {
  it.each(['\n', '\r', '\r\n'])('carries a frame with the line break %j between its tokens', (end) => {
    const frame = `{"type":"message",${end}"topic":"#a","cursor":"c1","payload":[${end}]}`;
    const { head, body } = eventOf(frame);
    expect(head).toEqual({ type: 'message', topic: '#a', cursor: 'c1' });
    const parser = createEventParser();
    parser.take(String(body));
    expect(parser.events.map(({ type, data }) => [type, JSON.parse(data)])).toEqual([
      ['message', JSON.parse(frame)],
    ]);
  });
});

describe('the fan-out', () => {
  it('encodes a frame once for all its streams, and keeps nothing of those that went', () => {
    const fanOut = createFanOut();
    const bodies: Buffer[] = [];
    const receivers = [1, 2].map(() => ({ deliver: ({ body }: { body: Buffer }) => void bodies.push(body) }));
    for (const receiver of receivers) fanOut.add('a', receiver);
    fanOut.publish('a', '{"type":"change","topic":"a","cursor":"c1"}');
    expect(bodies.map(String)).toEqual(
      Array(2).fill('event: change\ndata: {"type":"change","topic":"a","cursor":"c1"}\n\n'),
    );
    expect(bodies[0]).toBe(bodies[1]);
    for (const receiver of receivers) fanOut.remove('a', receiver);
    fanOut.publish('a', 'nobody reads this');
    expect(fanOut.topics).toBe(0);
  });
});
