/** A folder of somebody who follows the guides: the snippets as files, beside what `npm install` would bring. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { compile } from 'svelte/compiler';
import { compileScript, parse } from 'vue/compiler-sfc';
import { type Program, startProgram } from '../harness/program.ts';

const INSTALLED = ['pg', 'ws', 'jose', 'vue', 'svelte'];
/** Where the guides have their pages served. */
const PAGE = 'http://localhost:5173';

export interface Shell {
  readonly code: number | null;
  readonly said: string;
}

export interface Workshop {
  readonly folder: string;
  write(name: string, text: string): Promise<void>;
  /** Bundles a file with all that it imports, as Vite would; gives the bundle's path. */
  bundle(name: string): Promise<string>;
  /** Opens a page that runs a script; it ends with the workshop. `backend` answers what it fetches. */
  open(script: string, options?: { html?: string; backend?: string }): Program;
  /** Runs a program by Node. */
  node(name: string, env?: Record<string, string>): Program;
  /** Runs commands as a user would, to their end. */
  shell(text: string, env?: Record<string, string>): Promise<Shell>;
  /** Starts commands that do not end by themselves; the last of them is ended with the workshop. */
  start(text: string, env?: Record<string, string>): { said(): string };
  close(): Promise<void>;
}

export async function openWorkshop(): Promise<Workshop> {
  const folder = await mkdtemp(join(tmpdir(), 'rowcast-guides-'));
  const releases: (() => Promise<unknown>)[] = [];
  const root = process.cwd();
  const { PATH = '', HOME = '' } = process.env;

  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  await symlink(join(root, 'dist'), join(folder, 'dist'));
  await mkdir(join(folder, 'node_modules'));
  await symlink(root, join(folder, 'node_modules', 'rowcast'));
  for (const name of INSTALLED)
    await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name));

  function run(text: string, env: Record<string, string>) {
    const child = spawn('bash', ['-euc', text], {
      cwd: folder,
      env: { PATH, HOME, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        said += data;
      });
    return { child, closed: once(child, 'close'), said: () => said };
  }

  function kept(program: Program): Program {
    releases.push(() => {
      program.kill('SIGKILL');
      return program.ended;
    });
    return program;
  }

  return {
    folder,
    write: (name, text) => writeFile(join(folder, name), text),
    async bundle(name) {
      const outfile = join(folder, 'bundles', `${name}.js`);
      await build({
        entryPoints: [join(folder, name)],
        outfile,
        bundle: true,
        format: 'esm',
        platform: 'browser',
        conditions: ['browser'],
        plugins: [components],
        define: { 'process.env.NODE_ENV': '"production"' },
        logLevel: 'silent',
      });
      return outfile;
    },
    open: (script, { html = '', backend = '' } = {}) =>
      kept(startProgram([PAGE, script, html, backend], { script: join(root, 'test/guides/browser.js') })),
    node: (name, env = {}) => kept(startProgram([], { script: join(folder, name), env, cwd: folder })),
    async shell(text, env = {}) {
      const { child, closed, said } = run(text, env);
      await closed;
      return { code: child.exitCode, said: said() };
    },
    start(text, env = {}) {
      const { child, closed, said } = run(text, env);
      releases.push(() => {
        // The group is the shell's own, with all that it started.
        if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
        return closed;
      });
      return { said };
    },
    async close() {
      for (const release of releases.reverse()) await release();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Components of Vue and Svelte, by their own compilers. */
const components: Plugin = {
  name: 'components',
  setup({ onLoad }) {
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => {
      const { js, warnings } = compile(await readFile(path, 'utf8'), { generate: 'client', filename: path });
      return { contents: js.code, errors: warnings.map(({ message }) => ({ text: message })) };
    });
    onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      const { descriptor, errors } = parse(await readFile(path, 'utf8'), { filename: path });
      const { content } = compileScript(descriptor, { id: 'page', inlineTemplate: true });
      return { contents: content, errors: errors.map(({ message }) => ({ text: message })) };
    });
  },
};

/** Waits until the page shows exactly that. */
export function shows(page: Program, text: string): Promise<unknown> {
  return page.said(new RegExp(`(?:^|\\n)shows: ${text}\\n$`));
}
