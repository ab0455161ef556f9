/** What a command gets of the process: its environment, and where its words go. */
import { type Config, readConfig } from '../config.ts';
import type { Observe } from '../observation.ts';

export interface Context {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A line on standard output. */
  print(line: string): void;
}

/** How commands that connect are seen in `pg_stat_activity`. */
export const APPLICATION_NAME = 'rowcast cli';

/** The checked configuration, and how to connect to its database. Throws a `ConfigError`. */
export function readContext({ env }: Context): {
  config: Config;
  connection: { setting: 'DATABASE_URL'; applicationName: string };
} {
  return {
    config: readConfig(env),
    connection: { setting: 'DATABASE_URL', applicationName: APPLICATION_NAME },
  };
}

/** Prints the migrations that are applied; other observations are not for the command line. */
export function printMigrations({ print }: Context): Observe {
  return (seen) => {
    if (seen.type === 'migration.applied') print(`applied ${seen.name}`);
  };
}
