/** Dates and timestamps as `to_jsonb` writes them in UTC, and their order: BC, years past 9999 and infinity included. */

const MOMENT = /^(\d{4,7})(-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,6})?)?)(?:\+00:00)?( BC)?$/;
/** Moves every year that PostgreSQL knows (4713 BC and later) above zero. */
const SHIFT = 10_000;

/** A text that sorts as the moment does. Undefined for what is no moment. */
export function sortableMoment(text: string): string | undefined {
  if (text === 'infinity') return '~';
  if (text === '-infinity') return '';
  const [, year, rest, bc] = MOMENT.exec(text) ?? [];
  if (year === undefined) return undefined;
  const counted = bc === undefined ? Number(year) : 1 - Number(year);
  return `${String(counted + SHIFT).padStart(8, '0')}${rest}`;
}
