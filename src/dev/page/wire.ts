/** The panel: the frames as they pass, how long commits take to the screen, and what breaks the connection. */
import { at, make, post } from './dom.ts';

const MOST_FRAMES = 80;
const AWAY_MS = 5_000;

let isAway = false;
const open = new Set<SpiedSocket>();
const lags: number[] = [];
let transactions = 0;

/** A WebSocket whose frames are shown. */
export class SpiedSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols);
    open.add(this);
    this.addEventListener('message', ({ data }) => typeof data === 'string' && onFrame(data));
    this.addEventListener('close', ({ code }) => {
      open.delete(this);
      show('in', `closed, ${code}`);
    });
    if (isAway) this.close();
  }

  override send(data: string | Blob | BufferSource): void {
    // A token is nobody else's business.
    show('out', String(data).replace(/("token":")[^"]*/, '$1…'));
    super.send(data);
  }
}

function onFrame(text: string): void {
  show('in', text);
  const frame: unknown = JSON.parse(text);
  if (typeof frame !== 'object' || frame === null) return;
  if ('cursor' in frame) at('cursor', HTMLElement).textContent = String(frame.cursor);
  if (!('at' in frame)) return;
  const committedMs = Date.parse(String(frame.at));
  at('count', HTMLElement).textContent = String(++transactions);
  // What follows the next picture was painted.
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      measured(Math.max(0, Date.now() - committedMs));
      port1.close();
    };
    port2.postMessage(null);
  });
}

function measured(lagMs: number): void {
  lags.push(lagMs);
  if (lags.length > 100) lags.shift();
  const sorted = [...lags].sort((a, b) => a - b);
  at('lag', HTMLElement).textContent = `${lagMs} ms`;
  at('median', HTMLElement).textContent = `${sorted[sorted.length >> 1]} ms`;
}

function show(way: 'in' | 'out', text: string): void {
  const frames = at('frames', HTMLElement);
  const item = make('li', { className: way }, `${way === 'in' ? '←' : '→'} ${text.slice(0, 600)}`);
  frames.prepend(item);
  if (frames.childElementCount > MOST_FRAMES) frames.lastElementChild?.remove();
}

function cut(): void {
  for (const socket of [...open]) socket.close();
}

export function mountWire(): void {
  const broken = at('broken', HTMLElement);
  const onClick = (id: string, work: () => string | Promise<string>) =>
    at(id, HTMLButtonElement).addEventListener('click', async () => {
      try {
        broken.textContent = await work();
      } catch (error) {
        broken.textContent = error instanceof Error ? error.message : String(error);
      }
    });
  onClick('break', () => {
    cut();
    return 'The connection was cut. It comes back by itself, and misses nothing.';
  });
  onClick('away', () => {
    isAway = true;
    setTimeout(() => {
      isAway = false;
    }, AWAY_MS);
    cut();
    return 'Offline. What is committed meanwhile comes when it is back.';
  });
  onClick('listener', async () => {
    await post('listener', {});
    return 'The connection on which PostgreSQL notifies was ended. The service makes another, and reads what it missed.';
  });
}
