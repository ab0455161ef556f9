/** Who is asking, as a valid token says. */
export interface Identity {
  /** The token's `sub`. */
  readonly user: string;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** The values of a claim that can be compared with others: none where it has none, or holds something else. */
export function valuesOf(identity: Identity, claim: string): readonly string[] {
  const value = Object.hasOwn(identity.claims, claim) ? identity.claims[claim] : undefined;
  if (isValue(value)) return [String(value)];
  return Array.isArray(value) && value.every(isValue) ? value.map(String) : [];
}

function isValue(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}
