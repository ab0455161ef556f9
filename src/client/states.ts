/**
 * The states of the connection and what leads from one to the next: a total function, tabled in docs/client.md.
 *
 * It knows nothing of sockets and clocks: `connection` turns what happens into events, and does what a state asks for.
 */

export const STATES = [
  'idle',
  'authorizing',
  'opening',
  'open',
  'probing',
  'waiting',
  'ended',
  'closed',
] as const;
export type State = (typeof STATES)[number];

export const EVENTS = [
  'want',
  'unwant',
  'token',
  'welcome',
  'heard',
  'silent',
  'lost',
  'drained',
  'refused',
  'due',
  'wake',
  'offline',
  'close',
] as const;
export type Event = (typeof EVENTS)[number];

type Row = Partial<Record<Event, State>>;

/** How a connection that is there, or about to be, comes to its end. */
const ENDINGS: Row = {
  unwant: 'idle',
  lost: 'waiting',
  drained: 'waiting',
  refused: 'ended',
};

const TABLE: Record<State, Row> = {
  idle: { want: 'authorizing' },
  authorizing: { unwant: 'idle', token: 'opening', lost: 'waiting' },
  opening: { ...ENDINGS, welcome: 'open' },
  open: { ...ENDINGS, silent: 'probing', wake: 'probing', offline: 'probing' },
  probing: { ...ENDINGS, heard: 'open' },
  waiting: { unwant: 'idle', due: 'authorizing', wake: 'authorizing' },
  ended: {},
  closed: {},
};

/** The state that an event leads to. What it does not concern, it leaves. */
export function next(state: State, event: Event): State {
  return event === 'close' ? 'closed' : (TABLE[state][event] ?? state);
}

/** Frames pass. */
export function isOpen(state: State): state is 'open' | 'probing' {
  return state === 'open' || state === 'probing';
}
