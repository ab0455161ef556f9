/** The body of a request, read up to a limit. */
import type { HttpResponse } from 'uWebSockets.js';

/**
 * Resolves with the text, or with undefined when it is longer than `maxBytes`; then the rest is not kept. Never
 * resolves when the client goes first. To be called before the handler's first await.
 */
export function readBody(response: HttpResponse, maxBytes: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    response.onData((chunk, isLast) => {
      bytes += chunk.byteLength;
      // A copy: the memory of the chunk is gone after this turn.
      if (bytes <= maxBytes) chunks.push(Buffer.from(chunk.slice(0)));
      if (isLast) resolve(bytes <= maxBytes ? Buffer.concat(chunks).toString() : undefined);
    });
  });
}
