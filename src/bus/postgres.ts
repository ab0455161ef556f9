/**
 * The bus by PostgreSQL: everybody LISTENs. The triggers' NOTIFYs say the commits; of what they were muted for the
 * leader rings, and the others read. Snapshots and tables everybody sees for himself.
 */

import type { Bus, Hearer } from '../bus.ts';
import type { Bell } from '../postgres/bell.ts';
import type { Listener, ListenerOptions } from '../postgres/listener.ts';

export interface PostgresBusOptions {
  hearer: Hearer;
  /** Creates a listener, which starts once. */
  listener(handlers: Pick<ListenerOptions, 'onConnected' | 'onLost' | 'onNotification'>): Listener;
  bell: Bell;
  /** The leader rang. */
  onRing(): void;
  /** A commit was heard of by its NOTIFY, which that backend sent. */
  onNotified(backend: number): void;
}

export function createPostgresBus({ hearer, listener, bell, onRing, onNotified }: PostgresBusOptions): Bus {
  let current: Listener | null = null;
  let leading = false;
  /** Listeners that were stopped and are not gone yet. */
  const leaving = new Set<Promise<void>>();

  function create(): Listener {
    const created = listener({
      onConnected: hearer.onUp,
      onLost: hearer.onDown,
      onNotification(payload, sender, isAlone) {
        if (payload !== bell.payload) {
          hearer.onCommit(payload, isAlone);
          onNotified(sender);
          return;
        }
        onRing();
        if (!leading) hearer.onTold();
      },
    });
    current = created;
    return created;
  }

  async function leave(): Promise<void> {
    const gone = current;
    if (gone === null) return;
    current = null;
    const left = gone.stop().finally(() => leaving.delete(left));
    leaving.add(left);
    await left;
  }

  return {
    async start() {
      if (current !== null) return;
      const created = create();
      try {
        await created.start();
      } catch (error) {
        // Stopped meanwhile: nobody waits for it.
        if (current !== created) return;
        current = null;
        throw error;
      }
    },
    async stop() {
      await Promise.all([leave(), ...leaving]);
    },
    get up() {
      return current?.connected ?? false;
    },
    get reason() {
      return current === null ? 'not started' : current.reason;
    },
    lead() {
      leading = true;
    },
    resign() {
      leading = false;
    },
    say: ({ kind }) => (kind === 'read' ? bell.ring() : Promise.resolve()),
  };
}
