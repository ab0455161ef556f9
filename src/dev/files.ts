/** The files of the demo's page, as they were built, by the paths at which it asks for them. */
import { readFile } from 'node:fs/promises';
import type { Page } from '../transports/http.ts';

const BUILT = new URL('..', import.meta.url);
const FOLDER = 'dev/page/';

/** The page itself, its style, and its modules with all that they import. */
export async function readPages(): Promise<Readonly<Record<string, Page>>> {
  const pages: Record<string, Page> = {
    '/': { contentType: 'text/html; charset=utf-8', body: await read(`${FOLDER}index.html`) },
    [`/${FOLDER}style.css`]: {
      contentType: 'text/css; charset=utf-8',
      body: await read(`${FOLDER}style.css`),
    },
  };
  const modules = new Set([`${FOLDER}app.js`]);
  for (const path of modules) {
    const body = await read(path);
    pages[`/${path}`] = { contentType: 'text/javascript; charset=utf-8', body };
    for (const [, specifier = ''] of body.matchAll(/ from '(\.[^']+)'/g))
      modules.add(new URL(specifier, new URL(path, 'file:///')).pathname.slice(1));
  }
  return pages;
}

function read(path: string): Promise<string> {
  return readFile(new URL(path, BUILT), 'utf8');
}
