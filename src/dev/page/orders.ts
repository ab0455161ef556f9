/** The order board: a live collection, one column for each state. */
import type { Client } from '../../client.ts';
import { at, keyed, make, onSubmit, post } from './dom.ts';

const STATES = ['new', 'paid', 'packed', 'shipped', 'delivered'] as const;
const STIR_MS = 300;

// What `rowcast types` writes.
export type Order = {
  id: number;
  customer: string;
  product_id: number;
  quantity: number;
  total: number;
  state: (typeof STATES)[number];
  changed_at: string;
};

export function mountOrders(client: Client, nameOf: (productId: number) => string): void {
  const orders = client.live<Order>('demo.orders', { order: 'id.desc' });
  const columns = STATES.map((state) => {
    const count = make('span', { className: 'number' });
    const list = make('ul');
    const heading = make('h2', { id: `state-${state}` }, make('span', {}, state), count);
    const column = make('section', {}, heading, list);
    column.setAttribute('aria-labelledby', heading.id);
    at('board', HTMLElement).append(column);
    return { state, count, show: keyed<Order>(list, ({ id }) => id, card) };
  });

  function card({ id, customer, product_id, quantity, total, state }: Order): HTMLElement {
    const top = make(
      'div',
      { className: 'top' },
      make('strong', {}, customer),
      make('span', { className: 'number quiet' }, `#${id}`),
    );
    const what = make(
      'div',
      {},
      `${quantity} × ${nameOf(product_id)}, `,
      make('span', { className: 'number' }, total.toFixed(2)),
    );
    const element = make('li', { className: 'card' }, top, what);
    element.dataset['id'] = String(id);
    const next = STATES[STATES.indexOf(state) + 1];
    if (next !== undefined) {
      const button = make('button', { type: 'button', className: 'plain' }, `to ${next}`);
      button.setAttribute('aria-label', `Move order ${id} to ${next}`);
      button.addEventListener('click', () => void post('orders/advance', { id }));
      element.append(button);
    }
    return element;
  }

  function show(): void {
    for (const { state, count, show } of columns) {
      const rows = orders.rows.filter((order) => order.state === state);
      count.textContent = String(rows.length);
      show(rows);
    }
  }

  orders.subscribe(show);
  show();
  onSubmit('place', (fields) =>
    post('orders', {
      customer: fields.get('customer'),
      product: Number(fields.get('product')),
      quantity: Number(fields.get('quantity')),
    }),
  );
  const stir = at('stir', HTMLInputElement);
  setInterval(() => stir.checked && void post('stir', {}).catch(() => undefined), STIR_MS);
}
