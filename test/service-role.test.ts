/** deploy/rights.sql: the role that it makes serves, and has no right beyond what that takes. */
import { readFile } from 'node:fs/promises';
import { afterEach, expect, it } from '@jest/globals';
import { until } from './harness/facts.ts';
import { addressOf, runProgram, startProgram } from './harness/program.ts';
import { startServer } from './harness/server.ts';
import { connect } from './harness/socket.ts';
import { withClient } from './harness/suite.ts';

const releases: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

it('rowcast_service serves changes, snapshots, messages and presence, prunes, and may do nothing else', async () => {
  // A server of its own: roles are not of one database.
  const { url, query, dispose } = await startServer();
  releases.push(dispose);
  await query(`
    create schema "The Shop"; create table "The Shop"."Items" (id int primary key, name text, secret text);
    create table whole (id int primary key);
    select rowcast.watch('"The Shop"."Items"', columns => '{id,name}', access => 'public'), rowcast.watch('whole', access => 'public')`);
  const rights = await readFile('deploy/rights.sql', 'utf8');
  for (const _ of [1, 2]) await query(rights);
  await query(`alter role rowcast_service password 'secret'; alter table whole add column later int`);
  const own = new URL(url);
  [own.username, own.password] = ['rowcast_service', 'secret'];
  const faults = async () => {
    const { stdout } = await runProgram(['doctor'], { env: { DATABASE_URL: own.href } });
    return stdout.match(/FAULT.*/g);
  };
  // The right on columns would not do for snapshots, and the doctor knows.
  await query(
    `revoke select on "The Shop"."Items" from rowcast_service; grant select (id, name) on "The Shop"."Items" to rowcast_service`,
  );
  expect(await faults()).toEqual([expect.stringMatching(/snapshots: .* may not read "The Shop"\."Items"/)]);
  await query(rights);
  expect(await faults()).toBeNull();
  expect(await runProgram(['status'], { env: { DATABASE_URL: own.href } })).toMatchObject({ code: 0 });
  const program = startProgram(['serve'], {
    env: {
      DATABASE_URL: own.href,
      PORT: '0',
      HOST: '127.0.0.1',
      ROWCAST_DRAIN_MS: '0',
      ROWCAST_CHANNELS: 'lobby:join+publish+presence+public',
    },
  });
  releases.push(() => {
    program.kill('SIGKILL');
    return program.ended;
  });
  const socket = await connect(`${(await addressOf(program)).replace('http', 'ws')}/ws`);
  for (const topic of ['The Shop.Items', 'whole']) {
    socket.send({ type: 'subscribe', id: topic, topic, snapshot: true });
    await socket.next('live', ({ id }) => id === topic);
  }
  await query(`insert into "The Shop"."Items" values (1, 'one', 'hidden'); insert into whole values (1, 2)`);
  expect(await socket.next('change', ({ topic }) => topic === 'public.whole')).toMatchObject({
    changes: [{ new: { id: 1, later: 2 } }],
  });
  socket.send({ type: 'subscribe', id: 'c', topic: '#lobby' });
  await until(async () => (await query('select from rowcast.presence')).rows.length === 1, {
    what: 'it is in the lobby',
  });
  socket.send({ type: 'subscribe', id: 'p', topic: 'rowcast.presence?channel=eq.lobby', snapshot: true });
  await socket.next('live', ({ id }) => id === 'p');
  expect(socket.texts.join()).not.toContain('hidden');
  await socket.close();
  program.kill('SIGTERM');
  const ended = await program.ended;
  expect([ended.code, ended.stdout.match(/"level":"(warn|error|fatal)".*/g)]).toEqual([0, null]);

  await withClient(own.href, async (client) => {
    await client.query('select rowcast.prune()');
    for (const sql of [
      'delete from "The Shop"."Items"',
      'insert into whole values (2)',
      'delete from rowcast.log',
      `select rowcast.watch('whole')`,
      `select rowcast.publish('lobby', 'e')`,
      'select rowcast.begin_anew()',
    ]) {
      await expect(client.query(sql)).rejects.toMatchObject({ code: '42501' });
    }
  });
});
