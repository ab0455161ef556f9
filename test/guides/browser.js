/**
 * A page in a browser's stead: happy-dom for the document, the WebSocket of `ws` with the page's origin. It says what
 * the page shows, whenever that changes.
 *
 * Arguments: the page's address, the script to run, the page's HTML, if any, and where what it fetches of its own server
 * is to be had.
 */
import { pathToFileURL } from 'node:url';
import { Window } from 'happy-dom';
import { WebSocket } from 'ws';

const [address = '', script = '', html = '', server = ''] = process.argv.slice(2);
const window = new Window({ url: address });
const { document } = window;
document.write(html || '<!doctype html><body></body>');

class PageSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { origin: window.location.origin });
    this.on('open', () => console.error('connected'));
  }
}

const fetchAnywhere = globalThis.fetch;
const globals = {
  window,
  document,
  navigator: window.navigator,
  WebSocket: PageSocket,
  fetch: (path, options) => fetchAnywhere(new URL(path, server || address), options),
};
for (const [name, value] of Object.entries(globals))
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
// What frameworks look for by name, such as Element and Text.
for (const name of Object.getOwnPropertyNames(window))
  if (/^[A-Z]/.test(name) && !(name in globalThis)) globalThis[name] = window[name];

function tell() {
  const items = Array.from(document.querySelectorAll('li'), ({ textContent }) => textContent);
  const shown = items.length > 0 ? items.join(', ') : document.body.textContent;
  console.log(`shows: ${shown.trim()}`);
}
new window.MutationObserver(tell).observe(document.body, {
  childList: true,
  subtree: true,
  characterData: true,
});
await import(pathToFileURL(script).href);
