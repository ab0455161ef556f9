/** What TypeScript knows of rows: by the tables that `rowcast types` writes, or by what the caller says. */
import { expect, it } from '@jest/globals';
import type { Client, Live, RowOf } from '../src/client.ts';
import type { Row } from '../src/protocol.ts';

type Order = { id: number; state: 'new' | 'paid' };
interface Tables {
  'public.orders': Order;
  'shop.items': { sku: string };
}
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles or does not. */
const known: [
  Equal<RowOf<Tables, 'public.orders'>, Order>,
  Equal<RowOf<Tables, 'orders'>, Order>,
  Equal<RowOf<Tables, 'orders?state=eq.paid'>, Order>,
  Equal<RowOf<Tables, 'shop.items:insert,delete?sku=eq.a:b'>, { sku: string }>,
  Equal<RowOf<Tables, 'nowhere'>, Row>,
  Equal<RowOf<unknown, 'orders'>, Row>,
] = [true, true, true, true, true, true];

/** Never called. */
export function live(typed: Client<Tables>, untyped: Client): [Live<Order>, Live<Order>, Live<Order>, Live] {
  return [
    typed.live('orders', { order: 'id' }),
    typed.live<'public.orders'>('public.orders'),
    untyped.live<Order>('orders'),
    untyped.live('orders'),
  ];
}

it('is the row of the topic’s table, or any', () => {
  expect(known).not.toContain(false);
});
