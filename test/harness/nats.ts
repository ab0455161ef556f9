/** What tests by NATS are written in: they are skipped where there is no server. */
import { describe } from '@jest/globals';
import { hasNats } from './nats-server.ts';

export { type Nats, startNats } from './nats-server.ts';

/** `describe`, or what skips it where there is no server. */
export const describeWithNats: typeof describe | typeof describe.skip = hasNats() ? describe : describe.skip;
