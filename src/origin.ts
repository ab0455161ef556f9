/**
 * Origins of browser pages: how a list of them is written, and whom it lets in.
 *
 * Entries are `self` (the host that is connected to), `https://app.example.com`,
 * `https://*.example.com` (any host below, not example.com itself), and `*`.
 */

/** One entry of a list as a browser would send it (lower case, no default port), or undefined if it is none. */
export function parseOrigin(entry: string): string | undefined {
  if (entry === '*' || entry === 'self') return entry;
  const [, scheme, wildcard, rest] = /^(https?:\/\/)(\*\.)?([^/?#@*\s]+)\/?$/i.exec(entry) ?? [];
  if (scheme === undefined || rest === undefined || !URL.canParse(scheme + rest)) return undefined;
  const { origin } = new URL(scheme + rest);
  return wildcard === undefined ? origin : origin.replace('//', '//*.');
}

/**
 * Whether a page may connect: `origin` and `host` are its request's headers of that name.
 * No origin (empty) means no browser, which a list of origins is no defence against.
 */
export function allowsOrigin(origins: readonly string[], origin: string, host: string): boolean {
  if (origin === '') return true;
  const given = origin.toLowerCase();
  return origins.some((allowed) => {
    if (allowed === '*' || allowed === given) return true;
    if (allowed === 'self') return host !== '' && given.replace(/^https?:\/\//, '') === host.toLowerCase();
    const [scheme = '', domain] = allowed.split('*');
    return domain !== undefined && given.startsWith(scheme) && given.endsWith(domain);
  });
}
