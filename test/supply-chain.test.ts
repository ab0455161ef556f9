/** What is installed is what was chosen: exact versions, with their integrity, and the very binary that is loaded. */
import { execFile } from 'node:child_process';
import { appendFile, copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';

const run = promisify(execFile);

interface Manifest {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}
interface Locked {
  version?: string;
  integrity?: string;
  resolved?: string;
  link?: boolean;
  dev?: boolean;
  optional?: boolean;
}

const json = async (file: string) => JSON.parse(await readFile(file, 'utf8'));

describe.each(['.', 'test/versions'])('the packages of %s', (folder) => {
  it('are pinned exactly', async () => {
    const manifest: Manifest = await json(join(folder, 'package.json'));
    const { dependencies = {}, devDependencies = {}, optionalDependencies = {} } = manifest;
    const ranges = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }).filter(
      ([, wanted]) => !/^(npm:[@\w./-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(wanted),
    );
    expect(ranges).toEqual([]);
  });

  it('are locked with their integrity, and none by an address of its own', async () => {
    const { packages }: { packages: Record<string, Locked> } = await json(join(folder, 'package-lock.json'));
    const others = Object.entries(packages).filter(([path]) => path !== '');
    expect(others.length).toBeGreaterThan(3);
    // Binaries of development tools for other platforms were never downloaded here.
    const loose = others.filter(
      ([, { integrity, link, resolved, dev, optional }]) =>
        link || resolved !== undefined || !(integrity?.startsWith('sha512-') ?? (dev && optional)),
    );
    expect(loose.map(([path]) => path)).toEqual([]);
  });
});

describe('the binary of uWebSockets.js', () => {
  const name = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;

  /** What the build says of the binary in a folder. */
  async function faultIn(...folder: string[]): Promise<string | undefined> {
    return run(process.execPath, ['dist/dev/digest.js', ...folder]).then(
      () => undefined,
      ({ code, stderr }) => {
        expect(code).toBe(1);
        expect(stderr.trim().split('\n')).toHaveLength(1);
        return stderr;
      },
    );
  }

  it('is the one that the list has, and the build looks', async () => {
    expect(await faultIn()).toBeUndefined();
    const { scripts } = await json('package.json');
    expect(scripts.build).toMatch(/&& node dist\/dev\/digest\.js$/);
  });

  it('is refused where a byte of it is another, and where it is missing', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-digest-'));
    try {
      expect(await faultIn(folder)).toMatch(
        /^rowcast: .*uws_.* cannot be read .*; run npm ci with one of these/,
      );
      await copyFile(join('node_modules', 'uWebSockets.js', name), join(folder, name));
      expect(await faultIn(folder)).toBeUndefined();
      await appendFile(join(folder, name), 'x');
      expect(await faultIn(folder)).toMatch(
        /^rowcast: .*is another file than the one in src\/dev\/uwebsockets\.sha256: run npm ci; .*"[0-9a-f]{64} {2}uws_/,
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
