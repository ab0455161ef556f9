/** Changes for `for await`: a queue between what comes and who takes it. */

import { RowcastError } from './error.ts';
import type { Transaction } from './member.ts';
import type { SubscribeOptions, Subscription } from './subscriber.ts';

/**
 * Subscribes when it is first asked for a transaction, and ends with the loop. It throws what the service denied; and a
 * `RowcastError` with the reason where changes were lost and there is no `onReset`, as nobody would know.
 */
export async function* changesOf(
  subscribe: (options: SubscribeOptions) => Subscription,
  options: SubscribeOptions = {},
): AsyncGenerator<Transaction, void, undefined> {
  const queue: Transaction[] = [];
  const failures: unknown[] = [];
  let wake = () => {};
  const fail = (error: unknown) => {
    failures.push(error);
    wake();
  };
  const subscription = subscribe({
    onReset: (code) => fail(new RowcastError({ code, message: 'changes lost' })),
    ...options,
    onChange(changes, at) {
      queue.push({ changes, ...at });
      wake();
    },
    onError: fail,
  });
  try {
    for (;;) {
      const first = queue.shift();
      if (first) yield first;
      else if (failures.length > 0) throw failures[0];
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    subscription.close();
  }
}
