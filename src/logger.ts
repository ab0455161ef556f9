/**
 * The log: one JSON line for each thing observed.
 *
 * Owns the level and the words of every observation. Promises that a line holds
 * no row, no token and no password, and that what is below the level costs next
 * to nothing: at `info` a commit builds no object.
 */
import { type DestinationStream, type Logger, pino } from 'pino';
import type { Config } from './config.ts';
import type { Observation, Observe } from './observation.ts';

export type { Logger } from 'pino';

/** A logger that writes JSON lines to `destination`, or to standard output. */
export function createLogger(options: {
  level: Config['logLevel'];
  destination?: DestinationStream;
}): Logger {
  const settings = {
    level: options.level,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

/** Writes each observation as one line of `logger`, with its type as `event`. */
export function logObservations(logger: Logger): Observe {
  return (seen) => {
    switch (seen.type) {
      // What every commit brings: the level is asked for before anything is built.
      case 'feed.commit':
        if (logger.isLevelEnabled('debug')) logger.debug(fields(seen), 'a commit');
        return;
      case 'frame.published':
        if (logger.isLevelEnabled('trace')) logger.trace(fields(seen), 'frames published');
        return;
      case 'bus.said':
        if (logger.isLevelEnabled('trace')) logger.trace(fields(seen), 'said by NATS');
        return;
      case 'bus.heard':
        if (logger.isLevelEnabled('trace')) logger.trace(fields(seen), 'heard by NATS');
        return;

      case 'listener.connected':
        return logger.info(
          fields(seen),
          seen.first ? 'listening to PostgreSQL' : 'listening to PostgreSQL again',
        );
      case 'listener.lost':
        return logger.warn(fields(seen), 'the connection that listens is lost');
      case 'listener.retry':
        return logger.warn(fields(seen), 'connecting to listen again');
      case 'listener.checked':
        return logger.trace(fields(seen), 'the connection that listens is well');

      case 'feed.read':
        return logger.debug(fields(seen), 'the log was read');
      case 'feed.read_failed':
        return logger.error(fields(seen), 'the log could not be read; it will be tried again');
      case 'feed.caught_up':
        return logger.info(fields(seen), 'caught up with the log');
      case 'feed.malformed':
        return logger.error(fields(seen), 'a notification that is not ours; the log is read instead');
      case 'feed.queue_usage':
        if (seen.fraction < 0.5) return logger.debug(fields(seen), "the server's notification queue");
        return logger.warn(
          fields(seen),
          "the server's notification queue fills: some session listens and does not read",
        );
      case 'feed.log_size':
        return logger.debug(fields(seen), 'the size of the log');
      case 'catalog.loaded':
        return logger.info(fields(seen), 'the watched tables are known');
      case 'catalog.failed':
        return logger.error(fields(seen), 'the watched tables could not be read');

      case 'leader.elected':
        return logger.info(fields(seen), 'this instance leads');
      case 'leader.deposed':
        return logger.info(fields(seen), 'this instance leads no longer');
      case 'leader.lost':
        return logger.warn(fields(seen), 'the connection that leads, or waits to lead, is lost');
      case 'leader.failed':
        return logger.error(fields(seen), 'leading failed; it will be tried again');
      case 'leader.frozen':
        return logger.error(fields(seen), 'the leader muted the writers and does nothing: it is unseated');
      case 'leader.muted':
        return logger.debug(fields(seen), 'many commits: writers need not notify, the log is read');
      case 'leader.unmuted':
        return logger.debug(fields(seen), 'fewer commits: writers notify again');
      case 'bus.failed':
        return logger.warn(fields(seen), 'other instances could not be told of commits, or not be heard');
      case 'bus.up':
        return logger.info(fields(seen), 'commits come and go by NATS');
      case 'bus.down':
        return logger.warn(fields(seen), 'not by NATS: commits are heard of by PostgreSQL until it is back');
      case 'bus.gap':
        return logger.warn(fields(seen), 'words got lost on their way by NATS; the log is read instead');

      case 'session.opened':
        return logger.debug(fields(seen), 'a client came');
      case 'session.closed':
        return logger.debug(fields(seen), 'a client went');
      case 'session.slow':
        return logger.warn(fields(seen), 'a client is too slow and was disconnected, to resume');
      case 'session.error':
        return logger.debug(fields(seen), 'a client was told of an error');
      case 'session.failed':
        return logger.error(fields(seen), 'a fault of the service met a client');
      case 'subscription.added':
        return logger.debug(fields(seen), 'a client subscribed');
      case 'subscription.removed':
        return logger.debug(fields(seen), 'a client unsubscribed');
      case 'subscription.resumed':
        return logger.debug(fields(seen), 'a client resumed');

      case 'auth.verified':
        return logger.trace(fields(seen), 'a token was taken');
      case 'auth.refused':
        if (seen.reason === 'unavailable') return logger.error(fields(seen), 'tokens cannot be checked');
        return logger.debug(fields(seen), 'a token was refused');

      case 'message.relayed':
        return logger.trace(fields(seen), 'messages of clients were written');
      case 'message.failed':
        return logger.warn(fields(seen), 'messages of clients could not be written; they were told');

      case 'presence.seated':
        return logger.info(fields(seen), 'this instance keeps presence');
      case 'presence.lost':
        return logger.warn(
          fields(seen),
          'the connection by which others know this instance is there is lost',
        );
      case 'presence.written':
        return logger.trace(fields(seen), 'who came and who went was written');
      case 'presence.failed':
        return logger.warn(
          fields(seen),
          'who came and who went could not be written; it will be tried again',
        );

      case 'log.pruned':
        return logger.info(fields(seen), 'old commits were taken out of the log');
      case 'log.prune_failed':
        return logger.error(fields(seen), 'old commits could not be taken out of the log');
      case 'migration.applied':
        return logger.info(fields(seen), 'a migration was applied');

      case 'pool.error':
        return logger.error(fields(seen), 'a connection to PostgreSQL failed');
      case 'server.listening':
        return logger.info(fields(seen), 'ready for clients');
      case 'server.draining':
        return logger.info(fields(seen), 'stopping: clients are sent to other instances');
      case 'server.stopped':
        return logger.info(fields(seen), 'stopped');
      default:
        seen satisfies never;
    }
  };
}

/** What a line says of an observation. */
function fields({ type, ...rest }: Observation): Record<string, unknown> {
  const line: Record<string, unknown> = { event: type };
  for (const [key, value] of Object.entries(rest)) {
    if (typeof value === 'bigint') line[key] = String(value);
    else line[key] = typeof value === 'string' ? harmless(value) : value;
  }
  return line;
}

/** Text from elsewhere (a driver's error, a client's farewell), short and without credentials. */
function harmless(words: string): string {
  return words
    .slice(0, 1_000)
    .replace(/\/\/[^\s/@]*:\S*@/g, '//***@')
    .replace(/\b(bearer\s+|(?:token|password)\s*[=:]\s*)[^\s&"']+/gi, '$1***');
}
