/** Traces, as a collector of OpenTelemetry gets them. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createTraces } from '../src/tracing.ts';
import { createDatabase, type Database } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { addressOf, startService } from './harness/program.ts';

interface Span {
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
}
interface Sent {
  resourceSpans: { resource: { attributes: unknown[] }; scopeSpans: { spans: Span[] }[] }[];
}

const sent: Sent[] = [];
const collector = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.url === '/v1/traces') sent.push(JSON.parse(body) as Sent);
  response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
});
let database: Database;
let endpoint: string;

beforeAll(async () => {
  database = await createDatabase();
  await database.query(
    `create table item (id int primary key); select rowcast.watch('item', access => 'public')`,
  );
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await new Promise((resolve) => collector.close(resolve));
  await database.drop();
});

const spans = () =>
  sent.flatMap(({ resourceSpans }) => resourceSpans.flatMap((of) => of.scopeSpans.flatMap((s) => s.spans)));

describe('traces', () => {
  it('are not there unless they are asked for', async () => {
    expect(await createTraces({})).toBeNull();
    expect(
      await createTraces({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: 'true' }),
    ).toBeNull();
  });

  it('say of each commit how long it took from PostgreSQL to its publication', async () => {
    const program = startService(database.url, {
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '100',
    });
    await addressOf(program);
    await database.query('insert into item values (1), (2)');
    const commit = await until(() => spans().find(({ name }) => name === 'commit'), {
      what: 'a commit is traced',
    });
    expect(commit.attributes).toEqual(
      expect.arrayContaining([{ key: 'rowcast.changes', value: { intValue: 2 } }]),
    );
    const tookMs = Number(BigInt(commit.endTimeUnixNano) - BigInt(commit.startTimeUnixNano)) / 1e6;
    expect(tookMs).toBeLessThan(5_000);
    expect(spans().map(({ name }) => name)).toContain('read');
    expect(JSON.stringify(sent[0]?.resourceSpans[0]?.resource)).toContain('"rowcast"');
    program.kill('SIGTERM');
    expect(await program.ended).toMatchObject({ code: 0, stderr: '' });
  });
});
