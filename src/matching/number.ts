/**
 * Numbers of any precision, as decimal text.
 *
 * It promises one spelling for each number, and an exact order: PostgreSQL's, where NaN equals itself and is greater
 * than all else.
 */

const SPECIAL: Readonly<Record<string, number>> = { NaN: 2, Infinity: 1, '-Infinity': -1 };
const WHOLE = /^(?:0|-?[1-9]\d*)$/;
const PARTS = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d{1,6}))?$/;

/** The one spelling: no exponent, no zeros that say nothing, no negative zero. Undefined for what is no number. */
export function canonicalNumber(text: string): string | undefined {
  if (WHOLE.test(text) || Object.hasOwn(SPECIAL, text)) return text;
  const parts = PARTS.exec(text);
  if (parts === null) return undefined;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = parts;
  const point = whole.length + Number(exponent);
  const digits = (whole + fraction)
    .padEnd(point, '0')
    .padStart((whole + fraction).length + Math.max(0, -point), '0');
  const cut = Math.max(0, point);
  const head = digits.slice(0, cut).replace(/^0+/, '') || '0';
  const tail = withoutTrailing(digits.slice(cut), '0');
  if (head === '0' && tail === '') return '0';
  return tail === '' ? sign + head : `${sign}${head}.${tail}`;
}

/** The text without what it ends in, in one pass. */
export function withoutTrailing(text: string, char: string): string {
  let end = text.length;
  while (end > 0 && text.charAt(end - 1) === char) end--;
  return text.slice(0, end);
}

/** Compares two canonical numbers: negative, zero or positive, as sorting wants it. */
export function compareNumbers(a: string, b: string): number {
  if (a === b) return 0;
  const [special, other] = [SPECIAL[a] ?? 0, SPECIAL[b] ?? 0];
  if (special !== 0 || other !== 0) return special - other;
  const [negative, otherNegative] = [a.startsWith('-'), b.startsWith('-')];
  if (negative !== otherNegative) return negative ? -1 : 1;
  return negative ? compareDigits(b.slice(1), a.slice(1)) : compareDigits(a, b);
}

function compareDigits(a: string, b: string): number {
  const longer = wholeLength(a) - wholeLength(b);
  if (longer !== 0) return longer;
  return a < b ? -1 : 1;
}

function wholeLength(digits: string): number {
  const point = digits.indexOf('.');
  return point === -1 ? digits.length : point;
}
