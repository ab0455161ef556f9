/** A kind of value: text that is turned into a checked value, and words for what it may be. */
import { z } from 'zod';

/** One kind of value. `allowed` completes the sentence "must be …". */
export interface Kind<T> {
  readonly allowed: string;
  readonly schema: z.ZodType<T>;
}

/** Thrown by a parser: why a text is refused, where `allowed` alone does not say it. */
export class Refusal extends Error {}

export function kind<T>(allowed: string, parse: (text: string) => T): Kind<T> {
  const schema = z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (thrown) {
      if (!(thrown instanceof Refusal)) throw thrown;
      context.addIssue({ code: 'custom', message: thrown.message || allowed });
      return z.NEVER;
    }
  });
  return { allowed, schema };
}
