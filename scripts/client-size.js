/** Bundles what pages load, says how large it is, and fails where that is too much. */
import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';

/** Minified and gzipped; what is on top of something else is bundled without it. */
const PARTS = [
  { name: 'rowcast/client', entry: 'dist/client.js', most: 6_000, outfile: 'dist/client.min.js' },
  { name: 'rowcast/react', entry: 'dist/react.js', most: 1_500, external: ['react'] },
];

for (const { name, entry, most, outfile, external = [] } of PARTS) {
  const { outputFiles } = buildSync({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external,
    write: false,
  });
  const [{ contents }] = outputFiles;
  if (outfile !== undefined) writeFileSync(outfile, contents);
  const bytes = gzipSync(contents, { level: 9 }).length;
  console.log(`${name}: ${bytes} bytes minified and gzipped (at most ${most})`);
  if (bytes > most) {
    console.error(`rowcast: ${name} is ${bytes - most} bytes over its limit; make it smaller`);
    process.exitCode = 1;
  }
}
