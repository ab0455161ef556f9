/** docs/dba.md, followed line by line by psql alone: an evening of install, watch, alter, upgrade and uninstall. */
import { mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Postgres, startPostgres } from '../src/dev/postgres.ts';
import { findTools, runScript } from './harness/postgres-tools.ts';

interface Block {
  readonly line: number;
  readonly language: string;
  readonly text: string;
}

const page = await readFile('docs/dba.md', 'utf8');
const tools = await findTools();
const withTools = tools === undefined ? describe.skip : describe;
if (tools === undefined)
  console.warn('docs/dba.md is not followed: no /usr/lib/postgresql/*/bin with psql, pg_dump and a server');

/** The fenced blocks, in order. */
function blocksOf(markdown: string): Block[] {
  const fence = /^```(\w+)\n([\s\S]*?)^```$/gm;
  return Array.from(markdown.matchAll(fence), ({ 1: language = '', 2: text = '', index }) => ({
    line: markdown.slice(0, index).split('\n').length,
    language,
    text,
  }));
}

const MARK = '### line';

/** One script of all blocks, which says where it is; where an error is to be seen, it goes on. */
function scriptOf(blocks: readonly Block[]): string {
  return blocks
    .flatMap(({ line, language, text }, place) => {
      if (language === 'text') return [];
      const next = blocks[place + 1];
      const fails = next?.language === 'text' && next.text.includes('ERROR:');
      const sql = `psql "$DATABASE_URL" -XAtq -v SHOW_CONTEXT=never -v ON_ERROR_STOP=${fails ? 0 : 1} <<'SQL'\n${text}SQL`;
      return [`echo '${MARK} ${line}'`, language === 'sql' ? sql : text.trimEnd()];
    })
    .join('\n');
}

withTools('the page for DBAs', () => {
  let server: Postgres;
  let folder: string;
  let answers: Map<number, string>;
  let outcome: { code: number; said: string };

  beforeAll(async () => {
    if (tools === undefined) throw new Error('no tools');
    folder = await mkdtemp(join(tmpdir(), 'rowcast-dba-'));
    for (const name of ['migrations', 'deploy']) await symlink(join(process.cwd(), name), join(folder, name));
    server = await startPostgres({
      binaries: tools.server,
      settings: { max_prepared_transactions: '5', wal_level: 'logical', fsync: 'off' },
    });
    const script = `set -eu\ncd '${folder}'\n${scriptOf(blocksOf(page))}`;
    outcome = await runScript(script, tools, { DATABASE_URL: server.url });
    answers = new Map(
      outcome.said
        .split(`${MARK} `)
        .slice(1)
        .map((part) => [Number.parseInt(part, 10), part.replace(/^\d+\n/, '')]),
    );
  });
  afterAll(async () => {
    await server.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it('can be followed to its end', () => {
    expect(outcome).toMatchObject({ code: 0 });
  });

  const all = blocksOf(page);
  const answered = all.flatMap((block, place) => {
    const next = all[place + 1];
    return block.language !== 'text' && next?.language === 'text' ? [[block.line, next.text] as const] : [];
  });
  it.each(answered)('answers as it says, from line %d on', (line, expected) => {
    // Spaces at the ends of lines come of `uniq -c` and of the names of statements.
    const lines = (text = '') =>
      text
        .split('\n')
        .map((one) => one.trim())
        .filter((one) => one !== '');
    expect(lines(answers.get(line))).toEqual(lines(expected));
  });

  it('fails nowhere that it does not say so', () => {
    const silent = all.filter(
      ({ language, line }) => language !== 'text' && !answered.some(([at]) => at === line),
    );
    expect(silent.flatMap(({ line }) => /ERROR:.*/.exec(answers.get(line) ?? '') ?? [])).toEqual([]);
  });
});

describe('what the page says of connections', () => {
  it('names all that the code names, and no other', async () => {
    const files = await readdir('src', { recursive: true, encoding: 'utf8' });
    const texts = await Promise.all(
      files.filter((name) => name.endsWith('.ts')).map((name) => readFile(join('src', name), 'utf8')),
    );
    const named =
      /(?:applicationName[:=]? |applicationName = |application_name: |APPLICATION_NAME = |poolOf\(|LockSession\(\w+, )'(rowcast[ \w-]*)'/g;
    const inCode = new Set(texts.flatMap((text) => Array.from(text.matchAll(named), ([, name]) => name)));
    const inPage = new Set(Array.from(page.matchAll(/^\| `(rowcast[ \w-]*)` \|/gm), ([, name]) => name));
    expect([...inPage].sort()).toEqual([...inCode].sort());
  });
});
