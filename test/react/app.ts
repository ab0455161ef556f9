/** Components as an application has them; bundled with each React that they are tried with. */
import { createElement as h, StrictMode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import type { Client } from '../../src/client.ts';
import { RowcastProvider, useChannel, useLive, usePresence } from '../../src/react.ts';

type Item = { id: number; name: string };

/** How often each row, and the list, was rendered. */
export const renders = new Map<string, number>();
const count = (what: string) => renders.set(what, (renders.get(what) ?? 0) + 1);
export const heard: unknown[] = [];
export const unmounts: Root[] = [];

function List({ topic }: { topic: string }) {
  const { rows, status } = useLive<Item>(topic, { order: 'id' });
  count(`list ${topic}`);
  return h(
    'ul',
    { 'data-topic': topic, 'data-status': status },
    rows.map((row) => h('li', { key: row.id }, `${row.id} ${row.name}`)),
  );
}

function Chat() {
  const { publish } = useChannel('lobby', { said: (payload) => void heard.push(payload) });
  const { rows } = usePresence('lobby');
  const say = () => void publish('said', 'hello').then(() => heard.push('published'));
  return h('button', { type: 'button', onClick: say }, `${rows.length} here`);
}

export function App({ topics, chat = false }: { topics: string[]; chat?: boolean }) {
  return h(
    'div',
    {},
    topics.map((topic, n) => h(List, { key: n, topic })),
    chat && h(Chat),
  );
}

const tree = (client: Client, props: Parameters<typeof App>[0]) =>
  h(StrictMode, {}, h(RowcastProvider, { client }, h(App, props)));

/** Renders into an element; gives what renders it anew with others. */
export function mount(element: Element, client: Client): (props: Parameters<typeof App>[0]) => void {
  const root = createRoot(element);
  unmounts.push(root);
  return (props) => root.render(tree(client, props));
}

export function renderOnServer(client: Client, props: Parameters<typeof App>[0]): string {
  return renderToString(tree(client, props));
}
