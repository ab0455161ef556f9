/** Names of PostgreSQL's as TypeScript spells them. */

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/** A property's name, in quotes where it needs them. */
export function propertyName(name: string): string {
  return IDENTIFIER.test(name) ? name : quoted(name);
}

/** A string literal. */
export function quoted(text: string): string {
  const inner = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'");
  return `'${inner}'`;
}

/** Gives names that no other has, the same ones for the same names in the same order. */
export function createNames(taken: readonly string[]): (schema: string, name: string) => string {
  const used = new Set(taken);
  return (schema, name) => {
    const plain = pascal(schema === 'public' ? name : `${schema} ${name}`);
    let unique = plain;
    for (let n = 2; used.has(unique); n++) unique = `${plain}${n}`;
    used.add(unique);
    return unique;
  };
}

/** `order_items` is OrderItems; letters of any script are letters. */
function pascal(name: string): string {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter((word) => word !== '');
  const joined = words.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join('');
  return /^\p{L}/u.test(joined) ? joined : `T${joined}`;
}
