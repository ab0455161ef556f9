/**
 * Patterns of `like` and `ilike`, as PostgreSQL reads them: `%` any characters, `_` any one, `\` takes the meaning of
 * what follows.
 *
 * It promises that no pattern takes more steps than its length times the text's.
 */
import { badTopic } from '../topic/text.ts';

/** How letters lose their case: all of them, or as the locale C has it, ASCII alone. */
export type Fold = (text: string) => string;

const ANY = -1;
const ONE = -2;

/** A test of texts. Throws `bad_topic` on a pattern that PostgreSQL would refuse. */
export function compilePattern(pattern: string, fold: Fold | null): (text: string) => boolean {
  const wanted = tokens(fold === null ? pattern : fold(pattern));
  return (text) => matches(wanted, fold === null ? text : fold(text));
}

/** Character by character, as PostgreSQL does; none becomes two. */
export function foldUnicode(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase();
  let folded = '';
  for (const char of text) folded += String.fromCodePoint(char.toLowerCase().codePointAt(0) ?? 0);
  return folded;
}

export function foldAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

function tokens(pattern: string): readonly number[] {
  const wanted: number[] = [];
  let escaped = false;
  for (const char of pattern) {
    const code = char.codePointAt(0) ?? 0;
    if (escaped) {
      wanted.push(code);
      escaped = false;
    } else if (char === '\\') escaped = true;
    else if (char !== '%') wanted.push(char === '_' ? ONE : code);
    else if (wanted.at(-1) !== ANY) wanted.push(ANY);
  }
  // PostgreSQL's words.
  if (escaped) throw badTopic('LIKE pattern must not end with escape character');
  return wanted;
}

function matches(wanted: readonly number[], text: string): boolean {
  let at = 0;
  let token = 0;
  // Where to go on when it does not fit: the last % takes one character more.
  let retryToken = -1;
  let retryAt = 0;
  while (at < text.length) {
    const code = text.codePointAt(at) ?? 0;
    const want = wanted[token];
    if (want === ANY) {
      retryToken = ++token;
      retryAt = at;
    } else if (want === ONE || want === code) {
      token++;
      at += widthOf(code);
    } else if (retryToken >= 0) {
      token = retryToken;
      retryAt += widthOf(text.codePointAt(retryAt) ?? 0);
      at = retryAt;
    } else return false;
  }
  if (wanted[token] === ANY) token++;
  return token === wanted.length;
}

function widthOf(code: number): number {
  return code > 0xffff ? 2 : 1;
}
