/**
 * The digest of the uWebSockets.js binary that this Node.js loads, against those that we know: run by `npm run build`.
 *
 * The lock file pins the package as it was downloaded; this pins the file that is executed, wherever it came from.
 * `node dist/dev/digest.js [folder of the package]`: one line and 1 where it is another or not known.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { reasonOf } from '../observation.ts';

const LIST = 'uwebsockets.sha256';

/** What is wrong, in a line; undefined where nothing is. The list is of `sha256sum`'s form. */
function faultOf(folder: string, list: string): string | undefined {
  const name = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;
  const path = join(folder, name);
  let digest: string;
  try {
    digest = createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch (error) {
    return `${path} cannot be read (${reasonOf(error)}): uWebSockets.js has binaries for Node 20, 22, 24 and 25 on glibc and macOS; run npm ci with one of these`;
  }
  const known = list.split('\n').find((line) => line.endsWith(`  ${name}`));
  if (known?.startsWith(`${digest}  `)) return undefined;
  const what = known === undefined ? 'is not among the binaries' : 'is another file than the one';
  return `${path} ${what} in src/dev/${LIST}: run npm ci; where you took another version on purpose, put it there as "${digest}  ${name}"`;
}

const folder = process.argv[2] ?? dirname(createRequire(import.meta.url).resolve('uWebSockets.js'));
const fault = faultOf(folder, readFileSync(new URL(LIST, import.meta.url), 'utf8'));
if (fault !== undefined) {
  console.error(`rowcast: ${fault}`);
  process.exitCode = 1;
}
