/** `rowcast serve`: one instance of the service, until it is told to stop. */
import { readConfig } from '../config.ts';
import { createLogger, logObservations } from '../logger.ts';
import type { Observe } from '../observation.ts';
import { startServer } from '../server.ts';
import { createTraces } from '../tracing.ts';
import type { Context } from './context.ts';
import { stopSignal } from './signals.ts';

/** Resolves when it has been stopped by a signal. Throws a `ConfigError` or a `StartError`. */
export async function serve({ env }: Context): Promise<void> {
  const config = readConfig(env);
  const stopping = stopSignal();
  const log = logObservations(createLogger({ level: config.logLevel }));
  const traces = await createTraces(env);
  const observe: Observe = (seen) => {
    log(seen);
    traces?.observe(seen);
  };
  try {
    const server = await Promise.race([startServer(config, { observe }), stopping]);
    if (server === undefined) return;
    await stopping;
    await server.stop();
  } finally {
    await traces?.stop();
  }
}
