/** A listener whose address comes to lead to another server than the one that is read. */
import { expect, it } from '@jest/globals';
import { until } from './harness/facts.ts';
import { startInstance } from './harness/instance.ts';
import { startProxy } from './harness/proxy.ts';
import { startServer } from './harness/server.ts';

it('is not ready for as long as it listens to another database than it reads', async () => {
  const [one, other] = await Promise.all([startServer(), startServer()]);
  const proxy = await startProxy(one.port);
  const listenUrl = new URL(one.url);
  listenUrl.port = String(proxy.port);
  const instance = await startInstance(one.url, { ROWCAST_LISTEN_URL: listenUrl.href });
  const readiness = async () => {
    const answer = await fetch(`${instance.http}/readyz`);
    return { status: answer.status, body: await answer.json() };
  };
  try {
    expect(await readiness()).toMatchObject({ status: 200 });
    // Both let the same user in.
    await other.query(
      `alter role ${listenUrl.username} password '${decodeURIComponent(listenUrl.password)}'`,
    );
    const again = instance.observed.since();
    proxy.leadTo(other.port);
    proxy.cut();
    await again.next('listener.connected');
    expect(await readiness()).toEqual({
      status: 503,
      body: { status: 'unready', reason: expect.stringContaining('ROWCAST_LISTEN_URL') },
    });
    proxy.leadTo(one.port);
    proxy.cut();
    await until(async () => (await readiness()).status === 200, { what: 'it is ready again' });
  } finally {
    await instance.stop();
    await proxy.close();
    await Promise.all([one.dispose(), other.dispose()]);
  }
});
