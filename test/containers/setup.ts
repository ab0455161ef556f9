/** Builds the image, once for all tests. Says what is missing where it cannot. */
import { docker, IMAGE } from './docker.ts';

const NEEDED = 'npm run test:containers needs a Docker engine with BuildKit and compose';

export default async function setUp(): Promise<void> {
  await needs('no Docker engine answers: start one, or set DOCKER_HOST', 'version');
  await needs('`docker compose` is missing: install its plugin', 'compose', 'version');
  await docker('build', '--quiet', '--tag', IMAGE, '.');
}

async function needs(otherwise: string, ...command: readonly string[]): Promise<void> {
  await docker(...command).catch((cause: unknown) => {
    throw new Error(`${NEEDED}; ${otherwise}`, { cause });
  });
}
