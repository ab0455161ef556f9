/** An instance as `rowcast serve` starts it, but for the pace at which it mutes, in JSON: tests cannot wait for storms. */

import { stopSignal } from '../../dist/cli/signals.js';
import { readConfig } from '../../dist/config.js';
import { createLogger, logObservations } from '../../dist/logger.js';
import { startServer } from '../../dist/server.js';
import { StartError } from '../../dist/start-error.js';

const { ORACLE_PACE = '{}' } = process.env;

try {
  const config = readConfig(process.env);
  const stopping = stopSignal();
  const observe = logObservations(createLogger({ level: config.logLevel }));
  const server = await startServer(config, { observe, pace: JSON.parse(ORACLE_PACE) });
  await stopping;
  await server.stop();
  process.exit(0);
} catch (error) {
  if (!(error instanceof StartError)) throw error;
  console.error(error.message);
  process.exit(1);
}
