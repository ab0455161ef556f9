/** What an error of the database says about a catch-up that failed with it. */

function sqlStateOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
}

/** Whether a column, an operator or a value was not there: then the table is not what it was. Rights are no matter of that. */
export function isOfTable(error: unknown): boolean {
  const state = sqlStateOf(error);
  return /^(22|42)...$/.test(state) && state !== '42501';
}

/** What to say to a client of any other. */
export function faultOf(error: unknown): string {
  if (sqlStateOf(error) === '57014')
    return 'the snapshot took longer than it may; add filters, a limit, or an index for its order';
  return 'the database cannot be read now; try again after a while';
}
