/** Those who want to be told of something. What one throws is reported, and keeps it from none of the others. */

export interface Listeners<T> {
  /** Gives the way out. */
  add(listener: (what: T) => void): () => void;
  tell(what: T): void;
}

export function createListeners<T>(onError: (error: unknown) => void): Listeners<T> {
  const listeners = new Set<(what: T) => void>();
  return {
    add(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell(what) {
      for (const listener of [...listeners]) guarded(() => listener(what), onError);
    },
  };
}

/** Calls what is the user's. */
export function guarded(call: () => void, onError: (error: unknown) => void): void {
  try {
    call();
  } catch (thrown) {
    onError(thrown);
  }
}
