/**
 * Literals: what a client wrote in a filter, read by PostgreSQL as the column's type.
 *
 * It promises the text that capture would write of the same value, whatever the session's settings; that only the
 * catalog's names become SQL, never a client's text; and that many who ask at once, or for the same, cost few queries.
 */
import type pg from 'pg';
import type { ColumnType } from '../matching.ts';
import { ProtocolError } from '../protocol.ts';

export interface Literals {
  /**
   * The literal as `to_jsonb` writes it, without its quotes. Rejects with `bad_topic` and PostgreSQL's message where
   * it is no value of the type, with `unavailable` where the database cannot be asked.
   */
  cast(type: Pick<ColumnType, 'cast' | 'family'>, literal: string): Promise<string>;
}

/** The settings of capture, for this statement alone. */
const SETTINGS = [
  ['TimeZone', 'UTC'],
  ['DateStyle', 'ISO, MDY'],
  ['IntervalStyle', 'postgres'],
  ['bytea_output', 'hex'],
  ['extra_float_digits', '1'],
]
  .map(([name, value]) => `pg_catalog.set_config('${name}', '${value}', true)`)
  .join(' || ');

const MOST_CACHED = 20_000;
const LONGEST_CACHED = 256;
const BATCH = 500;
/** Words of dates and times whose meaning goes on with the clock. */
const CLOCK = /now|tod|tom|yes/i;
const CLOCK_TYPES = /^pg_catalog\.(date|time)/;

interface Asked {
  readonly literal: string;
  resolve(text: string): void;
  reject(error: unknown): void;
}

/** Creates it with nothing cached. */
export function createLiterals({ pool }: { pool: Pick<pg.Pool, 'query'> }): Literals {
  const cache = new Map<string, string>();
  const pending = new Map<string, Promise<string>>();
  /** What waits for the query that is under way, by type. */
  const queues = new Map<string, Asked[]>();

  function remember(key: string, text: string): void {
    if (key.length + text.length > LONGEST_CACHED) return;
    cache.delete(key);
    cache.set(key, text);
    for (const oldest of cache.keys()) {
      if (cache.size <= MOST_CACHED) break;
      cache.delete(oldest);
    }
  }

  function ask(type: string, literal: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const asked = { literal, resolve, reject };
      const queue = queues.get(type);
      if (queue !== undefined) queue.push(asked);
      else {
        queues.set(type, [asked]);
        void drain(type);
      }
    });
  }

  async function drain(type: string): Promise<void> {
    // Those of the same turn go together.
    await Promise.resolve();
    for (;;) {
      const batch = queues.get(type)?.splice(0, BATCH) ?? [];
      if (batch.length === 0) break;
      await answer(type, batch);
    }
    queues.delete(type);
  }

  async function answer(type: string, batch: readonly Asked[]): Promise<void> {
    try {
      const texts = await castAll(
        type,
        batch.map(({ literal }) => literal),
      );
      for (const [index, { resolve }] of batch.entries()) resolve(texts[index] ?? '');
    } catch (error) {
      const fault = faultOf(error);
      // One bad literal fails them all: each is asked for on its own.
      if (batch.length > 1 && fault.code === 'bad_topic') for (const one of batch) await answer(type, [one]);
      else for (const { reject } of batch) reject(fault);
    }
  }

  async function castAll(type: string, literals: readonly string[]): Promise<string[]> {
    const { rows } = await pool.query<{ text: string }>(
      `with settings as materialized (select ${SETTINGS} as made)
       select pg_catalog.to_jsonb(cast(given.literal as ${type})) #>> '{}' as text
         from settings, pg_catalog.unnest($1::pg_catalog.text[]) with ordinality as given (literal, place)
        where settings.made is not null order by given.place`,
      [literals],
    );
    return rows.map(({ text }) => text);
  }

  return {
    async cast({ cast: type, family }, literal) {
      // The labels of an enum come and go.
      const keeps = family !== 'enum' && !(CLOCK_TYPES.test(type) && CLOCK.test(literal));
      const key = `${type}\0${literal}`;
      const known = cache.get(key);
      if (known !== undefined) {
        remember(key, known);
        return known;
      }
      let asked = pending.get(key);
      if (asked === undefined) {
        asked = ask(type, literal).finally(() => pending.delete(key));
        pending.set(key, asked);
      }
      const text = await asked;
      if (keeps) {
        remember(key, text);
        // The canonical spelling is asked for whenever the catalog changes.
        remember(`${type}\0${text}`, text);
      }
      return text;
    },
  };
}

/** Data exceptions, and values past a limit of the database, are the literal's fault. */
function faultOf(error: unknown): ProtocolError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (error instanceof Error && /^(22|54)...$/.test(code)) {
    return new ProtocolError('bad_topic', error.message, { cause: error });
  }
  return new ProtocolError('unavailable', 'filters cannot be read now; try again after a while', {
    cause: error,
  });
}
