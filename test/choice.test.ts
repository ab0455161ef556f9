/** What the feed is told where both ways to hear come and go; the ways themselves are test/bus.test.ts's. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from '@jest/globals';
import { createChoice } from '../src/bus/choice.ts';
import type { Bus, Hearer } from '../src/bus.ts';

/** A way to hear that is up when the test says so. */
function way(): { bus(hearer: Hearer): Bus; up(): void; down(reason: string): void } {
  let hearer: Hearer | undefined;
  let isUp = false;
  return {
    up() {
      isUp = true;
      hearer?.onUp();
    },
    down(reason) {
      isUp = false;
      hearer?.onDown(reason);
    },
    bus(given) {
      hearer = given;
      return {
        start: async () => {},
        async stop() {
          isUp = false;
        },
        get up() {
          return isUp;
        },
        reason: null,
        lead() {},
        resign() {},
        say: async () => {},
      };
    },
  };
}

/** Takes what it is told, and does nothing. */
const feed = {
  start: async () => {},
  onConnected() {},
  onLost() {},
  onNotification() {},
  onSnapshot() {},
  onTold() {},
};

it('listens by PostgreSQL until what was committed before NATS was heard has been read', async () => {
  const [postgres, nats] = [way(), way()];
  let read = () => {};
  const choice = createChoice({
    postgres: postgres.bus,
    nats: nats.bus,
    feed: {
      ...feed,
      state: 'live',
      advance: () => new Promise((resolve) => (read = resolve)),
    },
    onTables() {},
    observe() {},
  });
  await choice.start();
  postgres.up();
  nats.up();
  await turn();
  expect([choice.listens, choice.byNats]).toEqual([true, false]);
  read();
  await turn();
  expect([choice.listens, choice.byNats]).toEqual([false, true]);
  await choice.stop();
});

it('tells the feed that nothing is heard where NATS goes while it is joined, and PostgreSQL went before', async () => {
  const [postgres, nats] = [way(), way()];
  const told: string[] = [];
  const choice = createChoice({
    postgres: postgres.bus,
    nats: nats.bus,
    feed: {
      ...feed,
      state: 'catching up',
      onConnected: () => told.push('connected'),
      onLost: (reason) => told.push(reason),
      advance: () => new Promise(() => {}),
    },
    onTables() {},
    observe() {},
  });
  await choice.start();
  postgres.up();
  postgres.down('no PostgreSQL');
  nats.up();
  nats.down('no NATS');
  expect(told).toEqual(['connected', 'no PostgreSQL', 'connected', 'no NATS']);
  await choice.stop();
});
