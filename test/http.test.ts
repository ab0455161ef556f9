import uWS from 'uWebSockets.js';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { mountHttp, type Readiness } from '../src/transports/http.ts';

const notFound = { error: 'not_found', message: 'there is nothing at this path' };

describe('over HTTP', () => {
  let app: uWS.TemplatedApp;
  let port: number;
  let readiness: Readiness;
  let metricsText: () => Promise<string>;
  /** Called when a connection goes, in the turn of the event loop in which its requests are told. */
  let onDisconnected: () => void;
  /** What the handlers of requests gave back: it rejects when one failed. */
  let handled: (void | Promise<void>)[];

  const fetchPath = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${port}${path}`, { method });

  beforeEach(async () => {
    readiness = { ready: true };
    metricsText = async () => 'rowcast_sessions 7\n';
    onDisconnected = () => {};
    handled = [];
    app = uWS.App();
    const any = app.any.bind(app);
    app.any = (pattern, handler) =>
      any(pattern, (response, request) => {
        handled.push(handler(response, request));
      });
    mountHttp(app, {
      ready: () => readiness,
      metrics: { text: () => metricsText(), contentType: 'text/plain; version=0.0.4; charset=utf-8' },
      pages: { '/': { contentType: 'text/html; charset=utf-8', body: '<h1>Grüße</h1>' } },
    });
    const onConnection = (_: uWS.HttpResponse, count: unknown) => {
      if (count === -1) onDisconnected();
    };
    app.filter(onConnection);
    port = await new Promise((resolve, reject) => {
      app.listen('127.0.0.1', 0, (socket) => {
        if (socket === false) reject(new Error('no port to listen on'));
        else resolve(uWS.us_socket_local_port(socket));
      });
    });
  });

  afterEach(() => {
    app.close();
  });

  it('the process is healthy while it answers, ready or not', async () => {
    readiness = { ready: false, reason: 'draining' };
    const response = await fetchPath('/healthz');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ok' });
  });

  it('an instance is ready', async () => {
    const response = await fetchPath('/readyz');
    expect(response.status).toBe(200);
    expect(response.headers.get('retry-after')).toBeNull();
    expect(await response.json()).toEqual({ status: 'ready' });
  });

  it('an instance is not ready, and says why', async () => {
    readiness = { ready: false, reason: 'the listener is not connected: "db" is down' };
    const response = await fetchPath('/readyz');
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await response.json()).toEqual({ status: 'unready', reason: readiness.reason });
  });

  it('metrics are text of their own type', async () => {
    const response = await fetchPath('/metrics');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await response.text()).toBe('rowcast_sessions 7\n');
  });

  it('metrics that cannot be had are a 500 with the reason', async () => {
    metricsText = () => Promise.reject(new Error('a gauge broke'));
    const response = await fetchPath('/metrics');
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({ error: 'internal', message: 'a gauge broke' });
  });

  it('a client that goes while its metrics are made harms no one', async () => {
    let finish = (_: string) => {};
    const asked = new Promise<void>((resolve) => {
      metricsText = () => {
        resolve();
        return new Promise((done) => {
          finish = done;
        });
      };
    });
    const gone = new Promise<void>((resolve) => {
      onDisconnected = () => setImmediate(resolve);
    });

    const client = connect(port, '127.0.0.1');
    await once(client, 'connect');
    client.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await asked;
    client.resetAndDestroy();
    await gone;
    finish('rowcast_sessions 8\n');

    await Promise.all(handled);
    expect(handled).toHaveLength(1);
    expect((await fetchPath('/healthz')).status).toBe(200);
  });

  it.each(['/healthz', '/readyz', '/metrics', '/'])('HEAD %s is its GET without the body', async (path) => {
    const get = await fetchPath(path);
    const head = await fetchPath(path, 'HEAD');
    const body = await get.arrayBuffer();
    expect(head.status).toBe(get.status);
    expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'));
    expect(head.headers.get('content-length')).toBe(String(body.byteLength));
    expect(await head.text()).toBe('');
  });

  it.each([
    ['POST', '/healthz'],
    ['PUT', '/readyz'],
    ['DELETE', '/metrics'],
    ['OPTIONS', '/metrics'],
    ['POST', '/'],
  ])('%s %s is not allowed', async (method, path) => {
    const response = await fetchPath(path, method);
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('GET, HEAD');
    expect(await response.json()).toMatchObject({ error: 'method_not_allowed' });
  });

  it.each([
    ['GET', '/nothing'],
    ['GET', '/healthz/'],
    ['GET', '/healthz/deep'],
    ['GET', '//'],
    ['POST', '/metrics2'],
    ['PATCH', '/%00'],
  ])('%s %s is not found', async (method, path) => {
    const response = await fetchPath(path, method);
    expect(response.status).toBe(404);
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(await response.json()).toEqual(notFound);
  });

  it('a query does not change what a path is', async () => {
    expect((await fetchPath('/healthz?verbose')).status).toBe(200);
  });

  it('a page is served as it is', async () => {
    const response = await fetchPath('/');
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(await response.text()).toBe('<h1>Grüße</h1>');
  });

  it.each(['/healthz', '/readyz', '/metrics', '/', '/nothing'])(
    'no answer of %s is kept or guessed at',
    async (path) => {
      const { headers } = await fetchPath(path);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
    },
  );
});
