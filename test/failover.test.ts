/** A failover: the address leads to a standby for a while, which is then promoted and has a timeline of its own. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { until } from './harness/facts.ts';
import { startInstance } from './harness/instance.ts';
import { startServer } from './harness/server.ts';

it('keeps clients through it, is not ready until the server takes writes, and takes no cursor over', async () => {
  const server = await startServer();
  await server.query(
    `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
  );
  const instance = await startInstance(server.url);
  const client = await instance.subscriber('item');
  await server.query('insert into item values (1)');
  const { cursor } = await client.next('change');

  const signal = join(server.dataDir, 'server', 'cluster', 'standby.signal');
  await server.stop();
  await writeFile(signal, '');
  await server.start();
  await until(
    async () =>
      (await server.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')).rows[0]?.standby,
    { what: 'it is a standby' },
  );
  await instance.observed.since().next('listener.retry');
  expect((await fetch(`${instance.http}/readyz`)).status).toBe(503);

  await server.query('select pg_promote()');
  expect(await client.next('reset', undefined, 30_000)).toMatchObject({
    topic: 'public.item',
    reason: 'stream_changed',
  });
  await until(async () => (await fetch(`${instance.http}/readyz`)).status === 200, {
    what: 'it is ready again',
    timeoutMs: 30_000,
  });
  await server.query('insert into item values (2)');
  expect(await client.next('change')).toMatchObject({ changes: [{ key: { id: 2 } }] });
  const back = await instance.client();
  back.send({ type: 'subscribe', id: 'again', topic: 'item', since: cursor });
  expect(await back.next('reset')).toMatchObject({ id: 'again', reason: 'stream_changed' });

  await back.close();
  await client.close();
  await instance.stop();
  await rm(signal, { force: true });
  await server.dispose();
});
