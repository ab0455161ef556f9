/** Bundles the client as pages load it, says how large it is, and fails where that is too much. */
import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';

const MOST_BYTES = 6_000;
const outfile = 'dist/client.min.js';

const { outputFiles } = buildSync({
  entryPoints: ['dist/client.js'],
  outfile,
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  write: false,
});
const [{ contents }] = outputFiles;
writeFileSync(outfile, contents);
const bytes = gzipSync(contents, { level: 9 }).length;
console.log(`rowcast/client: ${bytes} bytes minified and gzipped (at most ${MOST_BYTES})`);
if (bytes > MOST_BYTES) {
  console.error(`rowcast: the client is ${bytes - MOST_BYTES} bytes over its limit; make it smaller`);
  process.exitCode = 1;
}
