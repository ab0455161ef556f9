/**
 * Restarts of the server.
 *
 * A server that crashes forgets the ids of transactions that left nothing in its log, and gives them to others when
 * it is up again. A snapshot from before took those for over: a position with it would lack what commits under them.
 */
import { cutAt, type Position, type Reading, type Snapshot } from '../position.ts';
import type { ReadStart } from '../postgres/read-start.ts';

/** The position, freed from ids that a crashed server has given anew since. */
export async function withoutReused(
  position: Position,
  { restartedAtUs, reusedFrom }: Pick<ReadStart, 'restartedAtUs' | 'reusedFrom'>,
): Promise<Position> {
  const cut = async (snapshot: Snapshot): Promise<Snapshot> => {
    const from = snapshot.atUs < restartedAtUs ? await reusedFrom(snapshot) : null;
    return from === null ? snapshot : cutAt(snapshot, from);
  };
  const readings: Reading[] = [];
  for (const { snapshot, id } of position.readings) readings.push({ snapshot: await cut(snapshot), id });
  return { ...position, snapshot: await cut(position.snapshot), readings };
}
