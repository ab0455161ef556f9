#!/usr/bin/env node
/**
 * The command line: `rowcast serve | migrate | watch | unwatch | status | doctor | types | dev`.
 *
 * Only this room touches the process. It promises that a fault of the surroundings is one line for each thing
 * wrong and exit code 1; that a fault of the program is loud, with exit code 70; and 0 when all went well.
 */
import './cli/compiler.ts';
import './cli/headers.ts';
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import type { Context } from './cli/context.ts';
import { dev } from './cli/dev.ts';
import { doctor } from './cli/doctor.ts';
import { migrate } from './cli/migrate.ts';
import { serve } from './cli/serve.ts';
import { status } from './cli/status.ts';
import { type TypesOptions, types } from './cli/types.ts';
import { unwatch, type WatchOptions, watch } from './cli/watch.ts';
import { commandLine } from './command.ts';
import { ConfigError, settingsHelp } from './config.ts';
import { StartError } from './start-error.ts';

const FAULT = 1;
/** EX_SOFTWARE of sysexits. */
const BUG = 70;

const context: Context = {
  env: process.env,
  print: (line) => console.log(line),
};

function crash(error: unknown): never {
  console.error(error);
  process.exit(BUG);
}

/** Runs a command; gives control back to nobody: the process ends with it. */
function run(command: () => Promise<boolean | undefined>): Promise<never> {
  return command().then(
    (well) => process.exit(well === false ? FAULT : 0),
    (error: unknown) => {
      if (!(error instanceof ConfigError || error instanceof StartError)) return crash(error);
      const lines = error instanceof ConfigError ? error.problems : [error.message];
      // The functions of the database begin their messages with their own names.
      for (const line of lines) console.error(`rowcast: ${line.replace(/^rowcast(\.\w+)?: /, '')}`);
      process.exit(FAULT);
    },
  );
}

/** A command whose end is all it has to say. */
const runAll = (command: () => Promise<void>) => run(() => command().then(() => undefined));

const program = new Command('rowcast')
  .description('Pushes committed PostgreSQL row changes to browsers.')
  .version(versionOf(new URL('../package.json', import.meta.url)))
  .configureOutput({
    outputError: (text, write) =>
      write(
        `rowcast: ${text
          .trim()
          .replace(/^error: /, '')
          .replace(/\s+/g, ' ')}; see: ${commandLine('--help')}\n`,
      ),
  })
  .addHelpText('after', `\nSettings, all by environment:\n${settingsHelp()}`);

program
  .command('serve')
  .description('run one instance of the service')
  .action(() => runAll(() => serve(context)));

program
  .command('migrate')
  .description('bring the database to what this version needs')
  .action(() => runAll(() => migrate(context)));

program
  .command('watch')
  .description('publish the changes of a table, or change how')
  .argument('<table>', 'as SQL names it: orders, shop.orders, "Odd Name"')
  .option('--columns <a,b>', 'the columns to publish (default: all, later ones too)')
  .option('--key <a,b>', 'what tells rows apart (default: the primary key)')
  .option('--access <who>', 'who may read: public, authenticated or scoped (default: authenticated)')
  .option('--scope <json>', `columns bound to claims of the token: '{"customer_id":"sub"}'`)
  .action((table: string, options: WatchOptions) => runAll(() => watch(table, options, context)));

program
  .command('unwatch')
  .description('publish the changes of a table no longer')
  .argument('<table>', 'as SQL names it')
  .action((table: string) => runAll(() => unwatch(table, context)));

program
  .command('status')
  .description('show what is watched, the size of the log, and who listens')
  .option('--json', 'as one JSON object')
  .action((options: { json?: boolean }) => runAll(() => status(options, context)));

program
  .command('doctor')
  .description('try everything that an instance needs, and say what to do')
  .option('--json', 'as one JSON array')
  .action((options: { json?: boolean }) => run(() => doctor(options, context)));

program
  .command('types')
  .description('write TypeScript types of the rows of the watched tables')
  .option('--out <file>', 'the file to write (default: standard output)')
  .option(
    '--numbers <kind>',
    'double, or exact: bigint and text where a double may not hold it (default: double)',
  )
  .option('--check', 'write nothing; exit with 1 where the file is not up to date')
  .action((options: TypesOptions) => runAll(() => types(options, context)));

program
  .command('dev')
  .description('run the demo: a PostgreSQL (unless DATABASE_URL is set), the service, and a page')
  .action(() => runAll(() => dev(context)));

process.on('uncaughtException', crash);
process.on('unhandledRejection', crash);
program.parse();

function versionOf(file: URL): string {
  const about: unknown = JSON.parse(readFileSync(file, 'utf8'));
  if (typeof about === 'object' && about !== null && 'version' in about) return String(about.version);
  throw new Error('package.json has no version');
}
