/** What is in `deploy/`: the manifests against the types and schemas of Kubernetes, and what must fit together in them. */
import { execFile, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Deployment } from 'kubernetes-models/apps/v1';
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2';
import { Job } from 'kubernetes-models/batch/v1';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { Service } from 'kubernetes-models/v1';
import { parse } from 'yaml';
import { z } from 'zod';
import { freePort } from '../src/dev/port.ts';

const FOLDER = join('deploy', 'kubernetes');
const run = promisify(execFile);

const manifestSchema = z.looseObject({ apiVersion: z.string(), kind: z.string() });
type Manifest = z.infer<typeof manifestSchema>;

/** The models: their types know which fields there are, and their schemas what is required and of which form. */
const MODELS: Record<string, new (data: never) => { validate(): void }> = {
  Deployment,
  HorizontalPodAutoscaler,
  Job,
  NetworkPolicy,
  PodDisruptionBudget,
  Service,
};

async function manifest(file: string): Promise<Manifest> {
  return manifestSchema.parse(parse(await readFile(join(FOLDER, file), 'utf8')));
}

const manifests = (await readdir(FOLDER)).filter((file) => file !== 'kustomization.yaml').sort();

describe('the manifests for Kubernetes', () => {
  let folder: string;
  beforeEach(async () => {
    // Within the checkout, where the compiler finds the types.
    await mkdir(join('node_modules', '.cache'), { recursive: true });
    folder = await mkdtemp(join('node_modules', '.cache', 'manifests-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** What the compiler says of fields that are unknown or of another type. */
  async function mistypedIn(all: readonly Manifest[]): Promise<string> {
    const lines = all.map(({ apiVersion, kind, ...rest }, n) => {
      return `import type { I${kind} as K${n} } from 'kubernetes-models/${apiVersion}';
        export const m${n}: K${n} = ${JSON.stringify({ apiVersion, kind, ...rest }, null, 1)};`;
    });
    const file = join(folder, 'manifests.ts');
    await writeFile(file, lines.join('\n'));
    const options = ['--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext'];
    return run(join('node_modules', '.bin', 'tsc'), [...options, file]).then(
      () => '',
      ({ stdout }: { stdout: string }) => stdout,
    );
  }

  it.each(manifests)('%s fits its schema', async (file) => {
    const { kind, ...rest } = await manifest(file);
    const Model = MODELS[kind];
    if (Model === undefined) throw new Error(`${kind} is not among the kinds of this test`);
    Reflect.construct(Model, [{ kind, ...rest }]).validate();
  });

  it('have known fields alone', async () => {
    expect(await mistypedIn(await Promise.all(manifests.map(manifest)))).toBe('');
    // It would be seen: a misspelt field, deep down.
    const text = await readFile(join(FOLDER, 'deployment.yaml'), 'utf8');
    const misspelt = manifestSchema.parse(parse(text.replace('readinessProbe:', 'readynessProbe:')));
    expect(await mistypedIn([misspelt])).toContain('readynessProbe"\' does not exist');
  });

  it('are all in the kustomization', async () => {
    const { resources } = z
      .object({ resources: z.array(z.string()) })
      .parse(parse(await readFile(join(FOLDER, 'kustomization.yaml'), 'utf8')));
    expect([...resources].sort()).toEqual(manifests);
  });

  it('leave a pod the time to drain', async () => {
    const env = z.array(z.object({ name: z.string(), value: z.string().optional() }));
    const preStop = z.object({ exec: z.object({ command: z.tuple([z.literal('sleep'), z.string()]) }) });
    const container = z.object({ env, lifecycle: z.object({ preStop }) });
    const pod = z.object({
      terminationGracePeriodSeconds: z.number(),
      containers: z.tuple([container]),
    });
    const { spec } = z
      .object({ spec: z.object({ template: z.object({ spec: pod }) }) })
      .parse(await manifest('deployment.yaml'));
    const [{ env: settings, lifecycle }] = spec.template.spec.containers;
    const drainMs = Number(settings.find(({ name }) => name === 'ROWCAST_DRAIN_MS')?.value);
    const neededS = Number(lifecycle.preStop.exec.command[1]) + drainMs / 1_000;
    expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(neededS);
  });
});

describe('the samples for proxies', () => {
  it.each(['haproxy.cfg', 'nginx.conf'])(
    '%s lets quiet clients be for longer than a heartbeat',
    async (file) => {
      const text = await readFile(join('deploy', file), 'utf8');
      const timeouts = [...text.matchAll(/^\s*(?:timeout tunnel|proxy_(?:read|send)_timeout) (\d+)s;?$/gm)];
      expect(timeouts.length).toBeGreaterThan(0);
      for (const [, seconds] of timeouts) expect(Number(seconds)).toBeGreaterThan(2 * 25);
    },
  );

  function own(
    program: string,
    options: readonly string[],
  ): Pick<SpawnSyncReturns<string>, 'status' | 'stderr'> {
    const { status, stderr } = spawnSync(program, options, { encoding: 'utf8' });
    return { status, stderr };
  }
  /** Skipped where the program is not installed. */
  const here = (program: string) => (own(program, ['-v']).status === 0 ? it : it.skip);

  here('haproxy')('HAProxy takes its own', () => {
    expect(own('haproxy', ['-c', '-f', join('deploy', 'haproxy.cfg')])).toMatchObject({ status: 0 });
  });

  here('nginx')('nginx takes its own', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-nginx-'));
    try {
      // Whoever is not root may not have port 80.
      const text = await readFile(join('deploy', 'nginx.conf'), 'utf8');
      const config = join(folder, 'nginx.conf');
      await writeFile(config, text.replaceAll(/listen (\S*:)?80;/g, `listen 127.0.0.1:${await freePort()};`));
      const global = `pid ${join(folder, 'pid')}; error_log stderr;`;
      expect(own('nginx', ['-t', '-e', 'stderr', '-c', config, '-g', global])).toMatchObject({ status: 0 });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('npm run sbom', () => {
  it('lists what the image has, and nothing that developers alone need', async () => {
    const { stdout } = await run('npm', ['run', '--silent', 'sbom'], { maxBuffer: 16 * 1024 * 1024 });
    const named = z.object({ name: z.string(), version: z.string() });
    const { components } = z.object({ components: z.array(named) }).parse(JSON.parse(stdout));
    const names = components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['pg', 'pg-listen', 'zod', 'pino']));
    expect(names.filter((name) => /^(jest|typescript|testcontainers)$/.test(name))).toEqual([]);
  });
});
