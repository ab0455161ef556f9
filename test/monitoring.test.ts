/** The dashboard, the alerts and the runbook: they name metrics that there are, and each other. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { createMetrics } from '../src/metrics.ts';

const run = promisify(execFile);
const alerts = await readFile('deploy/prometheus/alerts.yaml', 'utf8');
const tests = await readFile('deploy/prometheus/alerts.test.yaml', 'utf8');
const scaling = await readFile('docs/scaling.md', 'utf8');
const dashboard = JSON.parse(await readFile('deploy/grafana/rowcast.json', 'utf8'));
const runbook = await readFile('docs/runbook.md', 'utf8');
const hasPromtool = await run('promtool', ['--version']).then(
  () => true,
  () => false,
);
if (!hasPromtool) console.warn('the alerts are not tried: there is no promtool (Debian: prometheus)');

const names = Array.from(alerts.matchAll(/^ *- alert: (\w+)$/gm), ([, name = '']) => name);

interface Panel {
  id: number;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets: { expr: string }[];
}
const panels: Panel[] = dashboard.panels;

/** What `/metrics` says, by name; histograms have three. */
async function exposed(): Promise<Set<string>> {
  const zero = () => 0;
  const no = () => false;
  const text = await createMetrics({
    sessions: zero,
    sessionsBy: zero,
    subscriptions: zero,
    topics: zero,
    present: zero,
    ringBytes: zero,
    listenerConnected: no,
    byNats: no,
    leading: no,
  }).text();
  return new Set(
    Array.from(text.matchAll(/^# TYPE (\S+) (\w+)$/gm)).flatMap(([, name = '', type]) =>
      type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
    ),
  );
}

function metricsIn(text: string): string[] {
  return Array.from(text.matchAll(/\b(?:rowcast|nodejs|process)_[a-z0-9_]+/g), ([name]) => name);
}

describe('the metrics that are named', () => {
  it.each<[where: string, text: string, prose: boolean]>([
    ['by the alerts', alerts.replace(/^ *(summary|runbook|#).*$/gm, ''), false],
    ['by the tests of the alerts', tests, false],
    ['by the dashboard', panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)).join('\n'), false],
    ['in the runbook', runbook, true],
    ['in docs/scaling.md', scaling, true],
  ])('%s are there', async (_, text, prose) => {
    const there = await exposed();
    const bare = new Set([...there].map((name) => name.replace(/_(bucket|sum|count)$/, '')));
    expect(metricsIn(text).filter((name) => !there.has(name) && !(prose && bare.has(name)))).toEqual([]);
  });
});

describe('each alert', () => {
  it('is in the runbook, in that order, and leads there', () => {
    const sections = Array.from(runbook.matchAll(/^## (Rowcast\w+)$/gm), ([, name]) => name);
    expect(sections).toEqual(names);
    const links = Array.from(alerts.matchAll(/runbook: docs\/runbook\.md#(\w+)$/gm), ([, anchor]) => anchor);
    expect(links).toEqual(names.map((name) => name.toLowerCase()));
  });

  it('is seen to go off in a test', () => {
    const gone = new Set(Array.from(tests.matchAll(/alertname: (\w+)\s+exp_alerts:/g), ([, name]) => name));
    expect(names.filter((name) => !gone.has(name))).toEqual([]);
  });

  const byPromtool = hasPromtool ? it : it.skip;
  byPromtool('is what promtool takes, and does what its test says', async () => {
    const cwd = 'deploy/prometheus';
    const { stdout } = await run('promtool', ['check', 'rules', 'alerts.yaml'], { cwd });
    expect(stdout).toContain(`SUCCESS: ${names.length} rules found`);
    expect((await run('promtool', ['test', 'rules', 'alerts.test.yaml'], { cwd })).stdout).toContain(
      'SUCCESS',
    );
  });

  byPromtool('and each query of the dashboard is PromQL', async () => {
    const rules = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    const text = rules
      .map((expr) => expr.replaceAll('$__rate_interval', '5m').replaceAll('$job', 'rowcast'))
      .map((expr, n) => `    - { record: "a:b${n}", expr: ${JSON.stringify(expr)} }`)
      .join('\n');
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-rules-'));
    try {
      const file = join(folder, 'rules.yaml');
      await writeFile(file, `groups:\n- name: dashboard\n  rules:\n${text}\n`);
      const { stdout } = await run('promtool', ['check', 'rules', file]);
      expect(stdout).toContain(`${rules.length} rules found`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('the dashboard', () => {
  it('has panels that do not lie on each other', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const overlapping = panels.flatMap(({ id, title, gridPos: a }) =>
      panels
        .filter(
          ({ id: other, gridPos: b }) =>
            other > id && a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h,
        )
        .map((other) => `${title} and ${other.title}`),
    );
    expect(overlapping).toEqual([]);
    expect(panels.every(({ gridPos: { x, w } }) => x + w <= 24)).toBe(true);
  });
});
