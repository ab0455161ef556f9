/** Where a client comes from: its address, or what trusted proxies say of it. */

/**
 * The address that a client's connections are counted by: an IPv4 address, or the /64 of an IPv6 address, of which a
 * client has all. `peer` is the connection's own, in text; `forwarded` the header `X-Forwarded-For`, to which each
 * proxy appends whom it was called by: so with so many `proxies` it is read from its right end, and what a client made
 * up on its left counts for nothing.
 */
export function clientOf(peer: string, forwarded: string, proxies: number): string {
  if (proxies === 0) return normal(peer);
  const hops = forwarded.split(',').map((hop) => hop.trim());
  const hop = hops.at(-proxies) ?? '';
  return hop === '' ? normal(peer) : normal(hop);
}

const MAX_LENGTH = 64;

function normal(text: string): string {
  // As a proxy may write it: [address]:port, or an IPv4 address with its port.
  const address = text.replace(/^\[([^\]]*)\](:\d+)?$/, '$1').replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1');
  if (!address.includes(':')) return address.slice(0, MAX_LENGTH);
  const mapped = /^(?:0*:)*:?ffff:(.+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return ofMapped(mapped);
  return `${groupsOf(address).slice(0, 4).join(':')}::/64`;
}

/** An IPv4 address in an IPv6 one, as 127.0.0.1 or as 7f00:1. */
function ofMapped(text: string): string {
  if (text.includes('.')) return text.slice(0, MAX_LENGTH);
  const [high = 0, low = 0] = text.split(':').map((group) => Number.parseInt(group, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** The eight groups, without leading zeros. */
function groupsOf(address: string): string[] {
  const [before = '', after] = address.split('::');
  const head = before === '' ? [] : before.split(':');
  const tail = after === undefined || after === '' ? [] : after.split(':');
  const zeros =
    after === undefined ? [] : Array.from({ length: Math.max(8 - head.length - tail.length, 0) }, () => '0');
  return [...head, ...zeros, ...tail].map((group) =>
    group
      .replace(/^0+(?=.)/, '')
      .toLowerCase()
      .slice(0, 4),
  );
}
