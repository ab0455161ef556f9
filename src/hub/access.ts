/** Who may see what of a table: its owner says by `rowcast.watch`, a token says who asks. */
import { type Identity, valuesOf } from '../identity.ts';
import { ProtocolError } from '../protocol.ts';
import { badTopic } from '../topic/text.ts';
import { canonicalTopic, channelTopic, type Filter, type TableTopic } from '../topic.ts';

/** What the table's owner says. */
export interface Access {
  readonly access: 'public' | 'authenticated' | 'scoped' | 'channel';
  /** Columns, each with the claim that it must equal. */
  readonly scope: Readonly<Record<string, string>> | null;
}

/** The filters that whoever asks cannot leave out; null where the table is not for him at all. */
export function scopeOf({ access, scope }: Access, identity: Identity | null): readonly Filter[] | null {
  if (access === 'public') return [];
  if (identity === null) return null;
  if (access === 'authenticated') return [];
  const filters = Object.entries(scope ?? {}).map(([column, claim]): Filter => {
    const values = valuesOf(identity, claim);
    const [only] = values;
    // A claim of several values allows each of them.
    if (values.length === 1 && only !== undefined) return { column, operator: 'eq', value: only };
    return { column, operator: 'in', value: values };
  });
  const isBound = filters.length > 0 && filters.every(({ value }) => value.length > 0);
  return isBound ? filters : null;
}

/** Of a table whose rows are of channels, whoever is present in one may read those of that one. Throws what else he is told. */
export function checkPresence(topic: TableTopic, isPresent: (channel: string) => boolean): void {
  const channels = topic.filters.filter(({ column, operator }) => column === 'channel' && operator === 'eq');
  const [channel, another] = channels.map(({ value }) => value);
  if (typeof channel !== 'string' || another !== undefined)
    throw badTopic('presence is of one channel: rowcast.presence?channel=eq.NAME');
  const name = canonicalTopic(channelTopic(channel));
  if (isPresent(channel)) return;
  throw new ProtocolError('forbidden', `who is in ${name} is not for this client`);
}

/** Equal for equal rules. */
export function spellAccess({ access, scope }: Access): string {
  return JSON.stringify([access, Object.entries(scope ?? {}).sort()]);
}
