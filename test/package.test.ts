/** The package as npm packs it: what an application imports of it, in Node and built by Vite. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

const run = promisify(execFile);
const VITE = join(process.cwd(), 'node_modules', 'vite', 'bin', 'vite.js');
let app: string;

beforeAll(async () => {
  app = await mkdtemp(join(tmpdir(), 'rowcast-app-'));
  const installed = join(app, 'node_modules', 'rowcast');
  await mkdir(installed, { recursive: true });
  // What is built already; nothing of it is made anew.
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', app]);
  const [packed] = JSON.parse(stdout) as { filename: string }[];
  await run('tar', ['xzf', join(app, packed?.filename ?? ''), '-C', installed, '--strip-components=1']);
  await symlink(join(process.cwd(), 'node_modules', 'react'), join(app, 'node_modules', 'react'));
  await writeFile(join(app, 'package.json'), JSON.stringify({ name: 'app', type: 'module', private: true }));
});
afterAll(() => rm(app, { recursive: true, force: true }));

describe('the package', () => {
  it('has the client, its types, the service and the migrations, and no tests', async () => {
    const installed = join(app, 'node_modules', 'rowcast');
    expect((await readdir(installed)).sort()).toEqual(
      expect.arrayContaining([
        'CHANGELOG.md',
        'LICENSE',
        'PROTOCOL.md',
        'README.md',
        'dist',
        'migrations',
        'package.json',
      ]),
    );
    expect(await readdir(join(installed, 'dist'))).toEqual(
      expect.arrayContaining(['cli.js', 'client.js', 'client.d.ts']),
    );
    expect(await readdir(installed)).not.toContain('test');
  });

  it('is imported by Node without a dependency', async () => {
    const script = `import { createClient } from 'rowcast/client';
      class Never { addEventListener() {} close() {} send() {} }
      const client = createClient({ url: 'ws://127.0.0.1:9/ws', WebSocket: Never });
      console.log(client.status, typeof client.live);
      client.close();`;
    const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', script], {
      cwd: app,
    });
    expect([stdout.trim(), stderr]).toEqual(['idle function', '']);
  });

  it('has hooks that Node imports beside React', async () => {
    const script = `import * as hooks from 'rowcast/react'; console.log(Object.keys(hooks).sort().join(' '));`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: app });
    expect(stdout.trim()).toBe('RowcastProvider useChannel useLive usePresence useRowcast');
  });

  it('is built into a page by Vite', async () => {
    await writeFile(join(app, 'index.html'), '<script type="module" src="/main.js"></script>');
    await writeFile(
      join(app, 'main.js'),
      `import { createElement } from 'react';
      import { createClient } from 'rowcast/client';
      import { RowcastProvider, useLive } from 'rowcast/react';
      const client = createClient({ url: '/ws' });
      const Rows = () => useLive('messages').rows.length;
      window.app = createElement(RowcastProvider, { client }, createElement(Rows));`,
    );
    await run(process.execPath, [VITE, 'build', '--logLevel', 'error'], { cwd: app });
    const assets = join(app, 'dist', 'assets');
    const [script = ''] = (await readdir(assets)).filter((name) => name.endsWith('.js'));
    expect(await readFile(join(assets, script), 'utf8')).toContain('messages');
  });
});
