import pg from 'pg';
import { reasonOf } from '../observation.ts';
import { ProtocolError } from '../protocol.ts';

/** The same; what PostgreSQL cannot store is `bad_frame`: a NUL character, or a number of a million digits. */
export async function storing<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    // Class 22: a value that the types cannot hold.
    if (!(error instanceof pg.DatabaseError && error.code?.startsWith('22') === true)) throw error;
    throw new ProtocolError('bad_frame', `PostgreSQL cannot store ${what}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}
