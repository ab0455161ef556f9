/**
 * Reading of JSON text without parsing it: where values end, and the raw text of the members that are wanted.
 *
 * The text is known to be well-formed; where it is not, that is a bug, and it throws.
 */

const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [OPEN_LIST, CLOSE_LIST, OPEN, CLOSE] = [0x5b, 0x5d, 0x7b, 0x7d];
/** This and what is below it. */
const SPACE = 0x20;

/**
 * Calls `onMember` with each member of the object that begins at `at`: its name as it is written between the quotes,
 * and where its value begins and ends. Stops early where that gives false. Gives where the object ends, or where it
 * stopped.
 */
export function eachMember(
  text: string,
  at: number,
  onMember: (name: string, start: number, end: number) => boolean,
): number {
  let next = skipSpace(text, at + 1);
  if (text.charCodeAt(next) === CLOSE) return next + 1;
  for (;;) {
    const nameEnd = endOfString(text, next);
    const name = text.slice(next + 1, nameEnd - 1);
    const start = skipSpace(text, expect(text, skipSpace(text, nameEnd), COLON));
    const end = endOfValue(text, start);
    if (!onMember(name, start, end)) return end;
    next = skipSpace(text, end);
    if (text.charCodeAt(next) === CLOSE) return next + 1;
    next = skipSpace(text, expect(text, next, COMMA));
  }
}

/** The text of a JSON string; undefined where it is none. */
export function stringOf(raw: string): string | undefined {
  if (raw.charCodeAt(0) !== QUOTE) return undefined;
  return raw.includes('\\') ? decoded(raw) : raw.slice(1, -1);
}

function decoded(raw: string): string | undefined {
  const value: unknown = JSON.parse(raw);
  return typeof value === 'string' ? value : undefined;
}

/** Where the value that begins at `at` ends. */
export function endOfValue(text: string, at: number): number {
  const first = text.charCodeAt(at);
  if (first === QUOTE) return endOfString(text, at);
  if (first === OPEN || first === OPEN_LIST) return endOfNested(text, at);
  for (let end = at; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (code === COMMA || code === CLOSE || code === CLOSE_LIST || code <= SPACE) return end;
  }
  return text.length;
}

function endOfNested(text: string, at: number): number {
  let depth = 0;
  for (let end = at; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (code === QUOTE) end = endOfString(text, end) - 1;
    else if (code === OPEN || code === OPEN_LIST) depth++;
    else if ((code === CLOSE || code === CLOSE_LIST) && --depth === 0) return end + 1;
  }
  throw new Error('a JSON text ends within a value');
}

function endOfString(text: string, at: number): number {
  if (text.charCodeAt(at) !== QUOTE) throw new Error('a JSON text has no string where one was expected');
  for (let end = text.indexOf('"', at + 1); end > 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === BACKSLASH) before--;
    if ((end - before) % 2 === 1) return end + 1;
  }
  throw new Error('a JSON text ends within a string');
}

function skipSpace(text: string, at: number): number {
  let next = at;
  while (text.charCodeAt(next) <= SPACE) next++;
  return next;
}

function expect(text: string, at: number, code: number): number {
  if (text.charCodeAt(at) === code) return at + 1;
  throw new Error(`a JSON text has no ${String.fromCharCode(code)} where one was expected`);
}
