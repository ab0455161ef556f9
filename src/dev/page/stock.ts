/** The products in stock: a live collection, as a table. */
import type { Client, Live } from '../../client.ts';
import { at, keyed, make, post } from './dom.ts';

export type Product = { id: number; name: string; price: number; stock: number };

export function mountStock(client: Client): Live<Product> {
  const products = client.live<Product>('demo.products', { order: 'name' });
  const show = keyed<Product>(at('products-rows', HTMLElement), ({ id }) => id, row);
  const choices = keyed<Product>(
    at('products', HTMLElement),
    ({ id }) => id,
    ({ id, name }) => make('option', { value: String(id) }, name),
  );
  products.subscribe(() => {
    show(products.rows);
    choices(products.rows);
  });
  return products;
}

function row({ id, name, price, stock }: Product): HTMLElement {
  const button = make('button', { type: 'button', className: 'plain' }, 'Restock 10');
  button.setAttribute('aria-label', `Restock 10 of ${name}`);
  button.addEventListener('click', () => void post('products/restock', { id }));
  const head = make('th', { scope: 'row' }, name);
  const cells = [price.toFixed(2), String(stock)].map((text) => make('td', { className: 'number' }, text));
  return make('tr', {}, head, ...cells, make('td', {}, button));
}
