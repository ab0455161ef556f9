/** `rowcast/react`: live data in components (docs/react.md). */
import {
  createContext,
  createElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useRef,
  useSyncExternalStore,
} from 'react';
import type { Channel, Client, Live, LiveOptions, MessageHandler, Row } from './client.ts';

/** What a component sees of a live collection. Another object only when something changed. */
export type LiveState<T extends Row = Row> = Pick<Live<T>, 'rows' | 'status' | 'error'>;

/** Messages by their events. */
export type Handlers = Readonly<Record<string, MessageHandler>>;

interface Shared {
  readonly live: Live;
  state: LiveState;
  holders: number;
}

const NOTHING: LiveState = { rows: [], status: 'connecting', error: undefined };
/** A collection outlives its last component by this, as it may be there again at once. */
const LINGER_MS = 1_000;

const context = createContext<Client | null>(null);
/** By client, and by topic and options. */
const collections = new WeakMap<Client, Map<string, Shared>>();

/** Gives all below it the client. It does not close the client. */
export function RowcastProvider({ client, children }: { client: Client; children?: ReactNode }): ReactNode {
  return createElement(context.Provider, { value: client }, children);
}

/** The client of the provider above. Throws where there is none. */
export function useRowcast(): Client {
  const client = useContext(context);
  if (client === null) throw new Error('there is no <RowcastProvider client={…}> above');
  return client;
}

/** The rows of a topic, right at all times. Components that ask for the same share one collection. */
export function useLive<T extends Row = Row>(topic: string, options: LiveOptions = {}): LiveState<T> {
  const client = useRowcast();
  const key = JSON.stringify([topic, options]);
  const subscribe = useCallback((listener: () => void) => hold(client, key, listener), [client, key]);
  const state = useSyncExternalStore(
    subscribe,
    () => collections.get(client)?.get(key)?.state ?? NOTHING,
    () => NOTHING,
  );
  // What the caller says of the rows.
  return state as LiveState<T>;
}

/** Joins a channel for as long as the component is there, with the handlers as they are now. */
export function useChannel(name: string, handlers: Handlers = {}): Pick<Channel, 'publish'> {
  const client = useRowcast();
  const latest = useRef(handlers);
  useEffect(() => {
    latest.current = handlers;
  });
  const events = JSON.stringify(Object.keys(handlers).sort());
  useEffect(() => {
    const channel = client.channel(name);
    for (const event of JSON.parse(events) as string[])
      channel.on(event, (payload, envelope) => latest.current[event]?.(payload, envelope));
    return () => channel.close();
  }, [client, name, events]);
  const publish = useCallback<Channel['publish']>(
    (event, payload) => client.channel(name).publish(event, payload),
    [client, name],
  );
  return { publish };
}

/** Who is in a channel. */
export function usePresence(name: string): LiveState {
  return useLive(`rowcast.presence?channel=eq.${encodeURIComponent(name)}`);
}

function hold(client: Client, key: string, listener: () => void): () => void {
  const all = collections.get(client) ?? new Map<string, Shared>();
  collections.set(client, all);
  const shared = all.get(key) ?? begin(client, key, all);
  shared.holders++;
  const leave = shared.live.subscribe(listener);
  return () => {
    leave();
    setTimeout(() => {
      if (--shared.holders > 0) return;
      all.delete(key);
      shared.live.close();
    }, LINGER_MS);
  };
}

function begin(client: Client, key: string, all: Map<string, Shared>): Shared {
  const [topic, options] = JSON.parse(key) as [string, LiveOptions];
  const live = client.live(topic, options);
  const look = (): LiveState => ({ rows: live.rows, status: live.status, error: live.error });
  const shared: Shared = { live, state: look(), holders: 0 };
  // Before any component's, which then finds the state as it is.
  live.subscribe(() => {
    shared.state = look();
  });
  all.set(key, shared);
  return shared;
}
