/** The demo's page: four views on one client, and the panel beside them. */
import { createClient } from '../../client.ts';
import { mountChat } from './chat.ts';
import { at } from './dom.ts';
import { mountMessages } from './messages.ts';
import { mountOrders } from './orders.ts';
import { mountStock } from './stock.ts';
import { mountWire, SpiedSocket } from './wire.ts';

const url = `${location.origin}/ws`;
const client = createClient({ url, WebSocket: SpiedSocket });
const status = at('status', HTMLElement);
const WORDS = {
  idle: 'connecting',
  connecting: 'connecting',
  open: 'live',
  offline: 'offline, connecting again',
  ended: 'refused',
  closed: 'closed',
};
client.onStatus((now) => {
  status.dataset['status'] = now === 'open' ? 'live' : now === 'ended' ? 'denied' : 'connecting';
  status.textContent = WORDS[now];
});

mountTabs();
mountWire();
const products = mountStock(client);
mountOrders(client, (id) => products.rows.find((product) => product.id === id)?.name ?? `product ${id}`);
mountChat(url);
mountMessages(client);

/** As the ARIA pattern for tabs has it; the address keeps the view. */
function mountTabs(): void {
  const tabs = [...document.querySelectorAll<HTMLButtonElement>('[role="tab"]')];
  function select(chosen: HTMLButtonElement): void {
    for (const tab of tabs) {
      const panel = at(tab.getAttribute('aria-controls') ?? '', HTMLElement);
      tab.setAttribute('aria-selected', String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      panel.hidden = tab !== chosen;
    }
    history.replaceState(null, '', `#${chosen.getAttribute('aria-controls')}`);
  }
  for (const [n, tab] of tabs.entries()) {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', ({ key }) => {
      const to = { ArrowRight: n + 1, ArrowLeft: n - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
      const next = to === undefined ? undefined : tabs[to % tabs.length];
      if (next === undefined) return;
      select(next);
      next.focus();
    });
  }
  const named = tabs.find((tab) => `#${tab.getAttribute('aria-controls')}` === location.hash);
  if (named !== undefined) select(named);
}
