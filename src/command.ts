/** How a command of this program is spelled here: by its name where it was installed, by its file in a checkout. */
const PROGRAM = /\/node_modules\//.test(import.meta.url) ? 'rowcast' : 'node dist/cli.js';

/** The command line that runs these arguments. */
export function commandLine(args: string): string {
  return `${PROGRAM} ${args}`;
}
