/**
 * The connection: one WebSocket at a time, made again for as long as it is wanted (`states` says when).
 *
 * It owns the sockets, the timers, the token and the window's events, and promises that no frame of a socket that it
 * dropped is handed on, and that it is open only when the service knows the token.
 */
import type { ServerFrame } from '../protocol/server-frame.ts';
import { backoffMs } from './backoff.ts';
import { RowcastError } from './error.ts';
import type { Json } from './numbers.ts';
import type { SocketConstructor, SocketLike } from './socket.ts';
import { type Effect, type Event, next, type State } from './states.ts';
import { renewalMs, type Token } from './token.ts';
import { watchWindow } from './window.ts';

export interface ConnectionOptions {
  readonly url: string;
  readonly token: Token | undefined;
  readonly WebSocket: SocketConstructor;
  readonly json: Json;
  onState(state: State): void;
  /** It is open. `isOtherToken`: what the last token did not allow may be allowed now. */
  onOpen(isOtherToken: boolean): void;
  onLost(): void;
  onFrame(frame: ServerFrame): void;
  /** Another token of the same user holds. */
  onRenewed(): void;
  onError(error: unknown): void;
}

export interface Connection {
  readonly state: State;
  /** Why it ended. */
  readonly error: RowcastError;
  /** Opens it, or ends it until it is wanted again. */
  want(wanted: boolean): void;
  /** Sends while it is open. */
  send(frame: object): void;
  /** Drops it; it is made again after a while. */
  backOff(): void;
  /** Ends it for good. */
  close(): void;
}

const AUTH_ID = 'auth';
/** What the close codes of PROTOCOL.md advise; any other end is the network's. */
const ADVICE: Readonly<Record<number, Event>> = {
  1001: 'drained',
  4400: 'refused',
  4401: 'unauthorized',
  4403: 'refused',
  4429: 'limited',
};
const OPENING_MS = 15_000;
const PONG_MS = 5_000;
/** Who was connected for so long may try again without delay. */
const WELL_MS = 10_000;
const PAUSE_MS = 1_000;
const RENEW_AGAIN_MS = 5_000;

export function createConnection(options: ConnectionOptions): Connection {
  const { url, token, json } = options;
  let state: State = 'idle';
  let socket: SocketLike | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let renewal: ReturnType<typeof setTimeout> | undefined;
  let attempts = 0;
  let fetches = 0;
  let openedAt = 0;
  let heartbeatMs = 0;
  /** The token of this connection, and that of the last one that was open. */
  let current: string | undefined;
  let last: string | undefined;
  let error = new RowcastError('ended', 'the service ended the connection for good');
  const unwatch = watchWindow(dispatch);

  const effects: Record<Effect, () => void> = {
    'fetch token': () => void fetchToken(),
    connect,
    drop,
    ping: () => send({ type: 'ping' }),
    'back off': () => after(backoffMs(attempts++), 'due'),
    pause: () => after(Math.random() * PAUSE_MS, 'due'),
  };

  function dispatch(event: Event): void {
    const from = state;
    const [to, ...todo] = next(from, event);
    if (to === from) return;
    state = to;
    clearTimeout(timer);
    const wasOpen = isOpen(from);
    if (wasOpen && !isOpen(to) && Date.now() - openedAt > WELL_MS) attempts = 0;
    if (event === 'wake') attempts = 0;
    for (const effect of todo) effects[effect]();
    if (to === 'opening') after(OPENING_MS, 'silent');
    if (to === 'open') after(2 * heartbeatMs, 'silent');
    if (to === 'probing') after(Math.min(PONG_MS, heartbeatMs), 'silent');
    if (wasOpen && !isOpen(to)) options.onLost();
    options.onState(to);
    if (to === 'open' && !wasOpen) {
      const isOtherToken = current !== last;
      last = current;
      options.onOpen(isOtherToken);
    }
  }

  function after(delayMs: number, event: Event): void {
    clearTimeout(timer);
    timer = setTimeout(() => dispatch(event), delayMs);
  }

  async function fetchToken(): Promise<void> {
    const mine = ++fetches;
    try {
      const fetched = await (typeof token === 'function' ? token() : token);
      if (mine !== fetches) return;
      current = fetched || undefined;
      dispatch('token');
    } catch (cause) {
      options.onError(cause);
      if (mine === fetches) dispatch('no token');
    }
  }

  function connect(): void {
    const mine = new options.WebSocket(url, 'rowcast.v1');
    socket = mine;
    mine.addEventListener('open', () => {
      if (mine !== socket) return;
      if (current !== undefined) write({ type: 'auth', id: AUTH_ID, token: current });
    });
    mine.addEventListener('message', ({ data }) => {
      if (mine === socket) receive(String(data));
    });
    mine.addEventListener('close', ({ code }) => {
      if (mine === socket) ended(ADVICE[code] ?? 'lost');
    });
    // What it is about is told by `close`.
    mine.addEventListener('error', () => undefined);
  }

  /** There is no other token than a fixed one. */
  function ended(event: Event): void {
    dispatch(event === 'unauthorized' && typeof token !== 'function' ? 'refused' : event);
  }

  function drop(): void {
    clearTimeout(renewal);
    const dropped = socket;
    socket = undefined;
    dropped?.close();
  }

  function receive(text: string): void {
    dispatch('heard');
    if (state === 'open') after(2 * heartbeatMs, 'silent');
    const frame = json.parse(text);
    if (frame.type === 'welcome') {
      heartbeatMs = frame.heartbeatMs;
      if (current === undefined) opened();
    }
    const isAnswer = 'id' in frame && frame.id === AUTH_ID;
    if (isAnswer) answered(frame);
    if (frame.type === 'error' && frame.id === undefined) error = new RowcastError(frame.code, frame.message);
    if (isOpen(state) && !isAnswer) options.onFrame(frame);
  }

  function answered(frame: ServerFrame): void {
    const was = state;
    if (frame.type !== 'error') {
      renewLater();
      if (isOpen(was)) options.onRenewed();
      else opened();
      return;
    }
    error = new RowcastError(frame.code, frame.message);
    if (frame.code === 'unauthorized') ended('unauthorized');
    else if (frame.code === 'forbidden') dispatch('drained');
    else if (isOpen(was)) renewal = setTimeout(renew, RENEW_AGAIN_MS);
    else dispatch('limited');
  }

  function opened(): void {
    openedAt = Date.now();
    dispatch('welcome');
  }

  function renewLater(): void {
    clearTimeout(renewal);
    const delayMs =
      typeof token === 'function' && current !== undefined ? renewalMs(current, Date.now()) : undefined;
    if (delayMs !== undefined) renewal = setTimeout(renew, delayMs);
  }

  async function renew(): Promise<void> {
    const mine = socket;
    try {
      const fetched = typeof token === 'function' ? await token() : undefined;
      if (mine !== socket || !isOpen(state)) return;
      if (!fetched || fetched === current) return renewLater();
      current = fetched;
      last = fetched;
      send({ type: 'auth', id: AUTH_ID, token: fetched });
    } catch (cause) {
      options.onError(cause);
      if (mine === socket) renewal = setTimeout(renew, RENEW_AGAIN_MS);
    }
  }

  function write(frame: object): void {
    socket?.send(json.stringify(frame));
  }

  function send(frame: object): void {
    if (isOpen(state)) write(frame);
  }

  return {
    get state() {
      return state;
    },
    get error() {
      return error;
    },
    want: (wanted) => dispatch(wanted ? 'want' : 'unwant'),
    send,
    backOff: () => dispatch('limited'),
    close() {
      unwatch();
      dispatch('close');
    },
  };
}

/** Frames pass. */
export function isOpen(state: State): boolean {
  return state === 'open' || state === 'probing';
}
