/** Where the service is. */

/**
 * The address of the WebSocket endpoint: http(s) becomes ws(s), and a bare host gets `/ws`. Within a page, what it lacks
 * is the page's. Throws a TypeError where it is none.
 */
export function endpointOf(given: string | URL): string {
  const base = globalThis.location?.href;
  const url = URL.canParse(given, base) && new URL(given, base);
  if (!url || !/^(ws|http)s?:/.test(url.protocol))
    throw new TypeError(`"url" must be an address such as wss://host; it is ${given}`);
  if (url.pathname === '/') url.pathname = '/ws';
  url.hash = '';
  return url.href.replace('http', 'ws');
}
