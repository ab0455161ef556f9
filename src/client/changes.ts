/** Changes for `for await`: a queue between what comes and who takes it. */

import { RowcastError } from './error.ts';
import type { Transaction } from './member.ts';
import type { Handlers, SubscribeOptions, Subscription } from './subscriber.ts';

/**
 * Subscribes when it is first asked for a transaction, and ends with the loop. It throws what the service denied; and a
 * `RowcastError` with the reason where changes were lost and there is no `onReset`, as nobody would know.
 */
export async function* changesOf(
  subscribe: (options: SubscribeOptions) => Subscription,
  options: SubscribeOptions,
): AsyncGenerator<Transaction, void, undefined> {
  const queue: Transaction[] = [];
  let failure: { error: unknown } | undefined;
  let wake = () => {};
  const fail = (error: unknown) => {
    failure ??= { error };
    wake();
  };
  const handlers: Handlers = {
    onReset: (reason) => fail(new RowcastError(reason, 'changes were lost: take a snapshot')),
    ...options,
    onChange(changes, at) {
      queue.push({ changes, ...at });
      wake();
    },
    onError: fail,
  };
  const subscription = subscribe({ ...options, ...handlers });
  try {
    for (;;) {
      const first = queue.shift();
      if (first !== undefined) yield first;
      else if (failure !== undefined) throw failure.error;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    subscription.close();
  }
}
