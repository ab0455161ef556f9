/** Presence with its seat, where the configuration has a channel keep it. */
import type { Config } from '../config.ts';
import { createPresence, type Presence, type PresenceOptions } from '../hub/presence.ts';
import type { Observe } from '../observation.ts';
import { createSeat } from '../postgres/seat.ts';

export interface Attendance extends Omit<Presence, 'restate'> {
  /** Resolves when it is seated, or the first try has failed; it goes on trying. */
  start(): Promise<void>;
}

export interface AttendanceOptions extends Pick<PresenceOptions, 'isPresent'> {
  config: Pick<Config, 'listenUrl' | 'channels'>;
  observe: Observe;
}

/** Undefined where nobody is seen anywhere. */
export function createAttendance({ config, isPresent, observe }: AttendanceOptions): Attendance | undefined {
  if (config.channels?.some((rule) => rule.presence) !== true) return undefined;
  const seat = createSeat({
    connectionString: config.listenUrl,
    observe,
    onSeated: (written) => presence.restate(written),
  });
  const presence = createPresence({ isPresent, write: seat.write, observe });
  return {
    ...presence,
    get size() {
      return presence.size;
    },
    start: seat.start,
    async stop() {
      await presence.stop();
      await seat.stop();
    },
  };
}
