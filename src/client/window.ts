/** The window's word on the network and on itself, where there is a window. */
import type { Event } from './states.ts';

/** Turns it into events of the connection, until the function that it gives is called. */
export function watchWindow(dispatch: (event: Event) => void): () => void {
  const controller = new AbortController();
  // That of the document bubbles up to the window.
  for (const type of ['online', 'offline', 'visibilitychange'])
    globalThis.addEventListener?.(
      type,
      () => {
        if (type === 'offline') dispatch(type);
        else if (type === 'online' || !document.hidden) dispatch('wake');
      },
      controller,
    );
  return () => controller.abort();
}
