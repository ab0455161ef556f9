/** The start of a read: its moment, and what else of the log is to be known then, seldom. */
import type pg from 'pg';
import { type Snapshot, spellSnapshot } from '../position.ts';
import type { Moment } from './moment.ts';

export interface ReadStart extends Moment {
  /** Where ids that a snapshot took for over have been given anew; null where none has. */
  reusedFrom(snapshot: Snapshot): Promise<bigint | null>;
  /** Of the latest commits the first, backwards, that is too far back or too large to be recalled; null where none is. */
  tooFar(): Promise<bigint | null>;
}

/** The first commit of an id that a snapshot took for over before it was given anew. Few ids are: those not flushed. */
const REUSED = `select l.xid::text from rowcast.log l
   where l.xid >= $1::xid8 and l.xid < $2::xid8 and pg_visible_in_snapshot(l.xid, $3::pg_snapshot)
     and l.at > timestamptz 'epoch' + $4::bigint * interval '1 microsecond'
   order by l.xid limit 1`;
const REUSED_IDS = 100_000n;

/** From the latest commit back, the first that is large, long ago, or after so many others. */
const TOO_FAR = `select l.xid::text from (
    select xid, at, sum(octet_length(body)) over latest_first as bytes, chunks > 0 as large, row_number() over latest_first as place
      from (select xid, id, at, chunks, body from rowcast.log order by xid desc, id desc limit 5000) last
    window latest_first as (order by xid desc, id desc)) l
   where l.large or l.bytes > ${8 * 1024 * 1024} or l.at < clock_timestamp() - interval '1 minute' or l.place = 5000
   order by l.xid desc limit 1`;

type Queries = Pick<pg.ClientBase, 'query'>;

/** The rest is asked of the client: within the read's transaction or after it, when there may be more, and never less. */
export function startOf(moment: Moment, client: Queries): ReadStart {
  return {
    ...moment,
    reusedFrom: (seen) => reusedFrom(client, seen),
    tooFar: () => tooFar(client),
  };
}

async function reusedFrom(client: Queries, seen: Snapshot): Promise<bigint | null> {
  const from = seen.xmax > REUSED_IDS ? seen.xmax - REUSED_IDS : 0n;
  const { rows } = await client.query<{ xid: string }>(REUSED, [
    from.toString(),
    seen.xmax.toString(),
    spellSnapshot(seen),
    seen.atUs.toString(),
  ]);
  return xidIn(rows);
}

async function tooFar(client: Queries): Promise<bigint | null> {
  return xidIn((await client.query<{ xid: string }>(TOO_FAR)).rows);
}

function xidIn([row]: readonly { xid: string }[]): bigint | null {
  return row === undefined ? null : BigInt(row.xid);
}
