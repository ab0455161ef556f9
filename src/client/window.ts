/** The window's word on the network and on itself, where there is a window. */
import type { Event } from './states.ts';

/** Turns it into events of the connection, until the function that it gives is called. */
export function watchWindow(dispatch: (event: Event) => void): () => void {
  const { document } = globalThis;
  const tell = ({ type }: { readonly type: string }) => {
    if (type === 'offline') dispatch(type);
    else if (type === 'online' || document.visibilityState === 'visible') dispatch('wake');
  };
  const add = globalThis.addEventListener;
  add?.('online', tell);
  add?.('offline', tell);
  document?.addEventListener('visibilitychange', tell);
  return () => {
    const remove = globalThis.removeEventListener;
    remove?.('online', tell);
    remove?.('offline', tell);
    document?.removeEventListener('visibilitychange', tell);
  };
}
