/** What the feed is told where both ways to hear come and go; the ways themselves are test/bus.test.ts's. */
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
        stop: async () => {},
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

it('tells the feed that nothing is heard where NATS goes while it is joined, and PostgreSQL went before', async () => {
  const [postgres, nats] = [way(), way()];
  const told: string[] = [];
  const choice = createChoice({
    postgres: postgres.bus,
    nats: nats.bus,
    feed: {
      state: 'catching up',
      start: async () => {},
      onConnected: () => told.push('connected'),
      onLost: (reason) => told.push(reason),
      onNotification() {},
      onSnapshot() {},
      onTold() {},
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
