/** The newest messages: a live collection of a hundred rows. */
import type { Client } from '../../client.ts';
import { at, keyed, make, onSubmit, post } from './dom.ts';

type Message = { id: number; room_id: number; content: string; created_at: string };

export function mountMessages(client: Client): void {
  const messages = client.live<Message>('messages', { order: 'id.desc', limit: 100 });
  const show = keyed<Message>(
    at('rows', HTMLElement),
    ({ id }) => id,
    ({ id, room_id, content, created_at }) => {
      const about = `#${id}, room ${room_id}, ${new Date(created_at).toLocaleTimeString()}`;
      return make(
        'li',
        { className: 'card' },
        make('div', { className: 'number quiet' }, about),
        make('div', {}, content),
      );
    },
  );
  messages.subscribe(() => show(messages.rows));
  onSubmit('insert', async (fields, form) => {
    await post('messages', { content: fields.get('content'), room_id: Number(fields.get('room_id')) });
    form.reset();
  });
}
