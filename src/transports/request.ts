/** What transports read of the request that a client connects with. */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { clientOf } from './address.ts';

/** What a request authenticates itself by. Browsers cannot set the header. */
export function tokenOf(request: HttpRequest): string | undefined {
  const [, bearer] = /^Bearer +(\S+) *$/i.exec(request.getHeader('authorization')) ?? [];
  return bearer ?? (request.getQuery('token') || undefined);
}

/** The address that its client is counted by, behind so many proxies. */
export function addressOf(request: HttpRequest, response: HttpResponse, proxies: number): string {
  const peer = Buffer.from(response.getRemoteAddressAsText()).toString();
  return clientOf(peer, allOf(request, 'x-forwarded-for'), proxies);
}

/** A header's lines as one: a proxy may add another, after that of its client. */
function allOf(request: HttpRequest, header: string): string {
  const lines: string[] = [];
  request.forEach((name, value) => {
    if (name === header) lines.push(value);
  });
  return lines.join(',');
}
