/** The chat: a channel, who is in it, and private messages. */
import { createClient } from '../../client.ts';
import { at, keyed, make, onSubmit, post } from './dom.ts';
import { SpiedSocket } from './wire.ts';

const CHANNEL = 'lobby';

export function mountChat(url: string): void {
  onSubmit('enter', async (fields) => {
    const name = String(fields.get('name')).trim();
    await tokenOf(name);
    enter(url, name);
    at('enter', HTMLElement).hidden = true;
    at('room', HTMLElement).hidden = false;
    at('say', HTMLFormElement).querySelector('input')?.focus();
  });
}

/** Asked for again before it runs out. */
async function tokenOf(name: string): Promise<string> {
  const answer = await post('token', { name });
  if (typeof answer === 'object' && answer !== null && 'token' in answer) return String(answer.token);
  throw new Error('the demo gave no token');
}

function enter(url: string, me: string): void {
  const client = createClient({ url, token: () => tokenOf(me), WebSocket: SpiedSocket });
  const lobby = client.channel(CHANNEL);
  lobby.on('said', (payload, { from }) => say(from ?? 'the database', textOf(payload)));
  client.inbox.on('said', (payload, { from }) => say(from ?? 'the database', textOf(payload), me));

  const { presence } = lobby;
  const showPresent = keyed<string>(
    at('present', HTMLElement),
    (user) => user,
    (user) => make('li', {}, user === me ? `${user} (you)` : user),
  );
  const showChoices = keyed<string>(
    at('to', HTMLElement),
    (user) => user,
    (user) => make('option', { value: user }, user),
  );
  presence.subscribe(() => {
    const users = [...new Set(presence.rows.map(({ user }) => String(user)))].sort();
    showPresent(users);
    showChoices(['', ...users.filter((user) => user !== me)]);
  });

  onSubmit('say', async (fields, form) => {
    const [to, text] = [String(fields.get('to')), String(fields.get('text'))];
    if (to === '') await lobby.publish('said', { text });
    else {
      await client.inbox.send(to, 'said', { text });
      say(me, text, to);
    }
    const input = form.querySelector('input');
    if (input !== null) input.value = '';
  });
}

function say(from: string, text: string, to?: string): void {
  const said = at('said', HTMLElement);
  const who = make(
    'strong',
    { className: to === undefined ? '' : 'private' },
    to === undefined ? from : `${from} to ${to}, privately`,
  );
  said.append(make('li', {}, who, `: ${text}`));
  const log = at('log', HTMLElement);
  log.scrollTop = log.scrollHeight;
}

function textOf(payload: unknown): string {
  const isText = typeof payload === 'object' && payload !== null && 'text' in payload;
  return isText ? String(payload.text) : JSON.stringify(payload);
}
