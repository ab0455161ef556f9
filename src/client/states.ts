/**
 * The states of the connection and what leads from one to the next: a total function, tabled in docs/client.md.
 *
 * It knows nothing of sockets and clocks: `connection` turns what happens into events, and does the effects.
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
  'no token',
  'welcome',
  'heard',
  'silent',
  'lost',
  'drained',
  'limited',
  'unauthorized',
  'refused',
  'due',
  'wake',
  'offline',
  'close',
] as const;
export type Event = (typeof EVENTS)[number];

export type Effect = 'fetch token' | 'connect' | 'drop' | 'ping' | 'back off' | 'pause';
export type Transition = readonly [State, ...Effect[]];
type Row = Partial<Record<Event, Transition>>;

/** How a connection that is there, or about to be, comes to its end. */
const ENDINGS: Row = {
  unwant: ['idle', 'drop'],
  lost: ['waiting', 'drop', 'back off'],
  drained: ['waiting', 'drop', 'pause'],
  limited: ['waiting', 'drop', 'back off'],
  unauthorized: ['waiting', 'drop', 'back off'],
  refused: ['ended', 'drop'],
  close: ['closed', 'drop'],
};
const TO_CLOSED: Row = { close: ['closed'] };

const TABLE: Record<State, Row> = {
  idle: { ...TO_CLOSED, want: ['authorizing', 'fetch token'] },
  authorizing: {
    ...TO_CLOSED,
    unwant: ['idle'],
    token: ['opening', 'connect'],
    'no token': ['waiting', 'back off'],
  },
  opening: { ...ENDINGS, welcome: ['open'], silent: ['waiting', 'drop', 'back off'] },
  open: { ...ENDINGS, silent: ['probing', 'ping'], wake: ['probing', 'ping'], offline: ['probing', 'ping'] },
  probing: { ...ENDINGS, heard: ['open'], silent: ['waiting', 'drop', 'back off'] },
  waiting: {
    ...TO_CLOSED,
    unwant: ['idle'],
    due: ['authorizing', 'fetch token'],
    wake: ['authorizing', 'fetch token'],
  },
  ended: TO_CLOSED,
  closed: {},
};

/** The state that an event leads to, and what is to be done on the way. What it does not concern, it leaves. */
export function next(state: State, event: Event): Transition {
  return TABLE[state][event] ?? [state];
}
