/**
 * The connection: one WebSocket at a time, made again for as long as it is wanted (`states` says when).
 *
 * It owns the sockets, the timers, the token and the window's events, and promises that no frame of a socket that it
 * dropped is handed on, and that it is open only when the service knows the token.
 */
import type { ServerFrame } from '../protocol/server-frame.ts';
import { backoffMs } from './backoff.ts';
import { RowcastError } from './error.ts';
import type { Numbers } from './numbers.ts';
import type { SocketConstructor, SocketLike } from './socket.ts';
import { type Event, isOpen, next, type State } from './states.ts';
import { renewalMs, type Token } from './token.ts';
import { watchWindow } from './window.ts';

export interface ConnectionOptions {
  readonly url: string;
  readonly token: Token | undefined;
  readonly WebSocket: SocketConstructor;
  readonly numbers: Numbers;
  /** Told after each step, and of another token of the same user. `anew`: what the last token did not allow may be allowed. */
  onState(wasOpen: boolean, anew: boolean): void;
  onFrame(frame: ServerFrame): void;
  onError(error: unknown): void;
}

export interface Connection {
  readonly state: State;
  /** Why it ended, or was closed. */
  readonly error: RowcastError | undefined;
  /** Sends the text of a frame while it is open. */
  send(text: string): void;
  /** It is wanted, or not any more; or is to be made again after a while (`lost`). */
  dispatch(event: Event): void;
  /** Ends it for good. */
  close(): void;
}

const AUTH_ID = 'auth';
/** What the close codes of PROTOCOL.md advise; any other end is the network's. */
const ADVICE: Readonly<Record<number, Event>> = {
  1001: 'drained',
  4400: 'refused',
  4403: 'refused',
};
const UNAUTHORIZED = 4401;
const OPENING_MS = 15_000;
const PONG_MS = 5_000;
/** Who was connected for so long may try again without delay. */
const WELL_MS = 10_000;
const RENEW_AGAIN_MS = 5_000;

export function createConnection(options: ConnectionOptions): Connection {
  const { url, token, numbers } = options;
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
  let error = new RowcastError({ code: 'ended', message: 'ended by the service' });
  const unwatch = watchWindow(dispatch);

  /** What is done on entering a state. */
  const entering: Partial<Record<State, () => void>> = {
    authorizing: () => void fetchToken(),
    opening: connect,
    open() {
      last = current;
      listen();
    },
    probing() {
      send('{"type":"ping"}');
      after(Math.min(PONG_MS, heartbeatMs), 'lost');
    },
  };

  function dispatch(event: Event): void {
    const wasOpen = isOpen(state);
    const to = next(state, event);
    if (to === state) return;
    state = to;
    clearTimeout(timer);
    const anew = to === 'open' && !wasOpen && current !== last;
    if (event === 'wake' || (wasOpen && !isOpen(to) && Date.now() - openedAt > WELL_MS)) attempts = 0;
    if (to !== 'opening' && !isOpen(to)) drop();
    // A service that is going away is no reason to wait for longer.
    if (to === 'waiting') after(backoffMs(event === 'drained' ? 1 : attempts++), 'due');
    entering[to]?.();
    options.onState(wasOpen, anew);
  }

  /** Waits for what comes. */
  function listen(): void {
    after(2 * heartbeatMs, 'silent');
  }

  function after(delayMs: number, event: Event): void {
    clearTimeout(timer);
    timer = setTimeout(() => dispatch(event), delayMs);
  }

  async function tokenNow(): Promise<string | undefined> {
    return (typeof token === 'function' ? await token() : token) || undefined;
  }

  async function fetchToken(): Promise<void> {
    const mine = ++fetches;
    try {
      const fetched = await tokenNow();
      if (mine !== fetches) return;
      current = fetched;
      dispatch('token');
    } catch (cause) {
      options.onError(cause);
      if (mine === fetches) dispatch('lost');
    }
  }

  function connect(): void {
    const mine = new options.WebSocket(url, 'rowcast.v1');
    socket = mine;
    mine.addEventListener('open', () => {
      if (mine === socket) authenticate();
    });
    mine.addEventListener('message', ({ data }) => {
      if (mine === socket) receive(String(data));
    });
    mine.addEventListener('close', ({ code }) => {
      if (mine === socket) ended(code);
    });
    // What it is about is told by `close`.
    mine.addEventListener('error', () => undefined);
    after(OPENING_MS, 'lost');
  }

  /** There is no other token than a fixed one. */
  function ended(code: number): void {
    dispatch(code === UNAUTHORIZED && typeof token !== 'function' ? 'refused' : (ADVICE[code] ?? 'lost'));
  }

  function drop(): void {
    clearTimeout(renewal);
    const dropped = socket;
    socket = undefined;
    dropped?.close();
  }

  function receive(text: string): void {
    dispatch('heard');
    if (state === 'open') listen();
    const frame = numbers.parse(text);
    const { id = undefined } = 'id' in frame ? frame : {};
    if (frame.type === 'welcome') {
      heartbeatMs = frame.heartbeatMs;
      if (!current) opened();
    }
    if (frame.type === 'error' && (!id || id === AUTH_ID)) error = new RowcastError(frame);
    if (id === AUTH_ID) answered(frame);
    else if (isOpen(state)) options.onFrame(frame);
  }

  function answered(frame: ServerFrame): void {
    if (frame.type !== 'error') {
      renewLater();
      if (isOpen(state)) options.onState(true, true);
      else opened();
    } else if (frame.code === 'unauthorized') ended(UNAUTHORIZED);
    else if (isOpen(state) && frame.code !== 'forbidden') renewal = setTimeout(renew, RENEW_AGAIN_MS);
    else dispatch('lost');
  }

  function opened(): void {
    openedAt = Date.now();
    dispatch('welcome');
  }

  function renewLater(): void {
    clearTimeout(renewal);
    const delayMs = typeof token === 'function' && current && renewalMs(current, Date.now());
    if (delayMs) renewal = setTimeout(renew, delayMs);
  }

  async function renew(): Promise<void> {
    const mine = socket;
    try {
      const fetched = await tokenNow();
      if (mine !== socket || !isOpen(state)) return;
      if (!fetched || fetched === current) return renewLater();
      current = fetched;
      last = fetched;
      authenticate();
    } catch (cause) {
      options.onError(cause);
      if (mine === socket) renewal = setTimeout(renew, RENEW_AGAIN_MS);
    }
  }

  /** Tells the service the token, where there is one. */
  function authenticate(): void {
    if (current) socket?.send(JSON.stringify({ type: 'auth', id: AUTH_ID, token: current }));
  }

  function send(text: string): void {
    if (isOpen(state)) socket?.send(text);
  }

  return {
    get state() {
      return state;
    },
    get error() {
      return state === 'ended' || state === 'closed' ? error : undefined;
    },
    dispatch,
    send,
    close() {
      unwatch();
      error = new RowcastError({ code: 'closed', message: 'the client was closed' });
      dispatch('close');
    },
  };
}
