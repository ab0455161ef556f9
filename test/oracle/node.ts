/** An instance of the oracle: the program in a process of its own, so that it can be killed. */
import { join } from 'node:path';
import { addressOf, type Program, startProgram } from '../harness/program.ts';

export interface NodeMetrics {
  readonly leading: boolean;
  /** Times that it muted the writers' NOTIFYs. */
  readonly mutings: number;
  /** Words that it heard by NATS, times that some got lost, and times that NATS was gone. */
  readonly heard: number;
  readonly gaps: number;
  readonly fallbacks: number;
}

export interface Node {
  /** Where clients connect. */
  readonly url: string;
  /** What `/metrics` says; the last that could be had where it does not answer. */
  metrics(): Promise<NodeMetrics>;
  /** Whether `/readyz` says that it is by NATS. */
  byNats(): Promise<boolean>;
  /** Ends it with SIGTERM, as an orchestrator does, or with SIGKILL, as a fault does. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Why it ended, though nobody told it to; null while it has not. */
  readonly died: string | null;
}

const SCRIPT = join(process.cwd(), 'test', 'oracle', 'serve.js');
const SETTINGS = { HOST: '127.0.0.1', PORT: '0', ROWCAST_HEARTBEAT_MS: '500', ROWCAST_DRAIN_MS: '300' };

/** Starts one; again and again while the database is away. */
export async function startNode(databaseUrl: string, env: Record<string, string>): Promise<Node> {
  for (let tries = 1; ; tries++) {
    const program = startProgram([], {
      script: SCRIPT,
      env: { ...SETTINGS, ...env, DATABASE_URL: databaseUrl },
    });
    try {
      return nodeOf(program, await addressOf(program));
    } catch (cause) {
      const { code, stderr } = await program.ended;
      if (code !== 1 || tries === 20) throw new Error(`an instance does not start: ${stderr}`, { cause });
    }
  }
}

function nodeOf(program: Program, address: string): Node {
  let told = false;
  let died: string | null = null;
  let last: NodeMetrics = { leading: false, mutings: 0, heard: 0, gaps: 0, fallbacks: 0 };
  void program.ended.then(({ code, stderr }) => {
    if (!told) died = `an instance ended by itself with ${code}: ${stderr}`;
  });
  return {
    url: `${address.replace('http', 'ws')}/ws`,
    async metrics() {
      const text = await fetch(`${address}/metrics`, { signal: AbortSignal.timeout(1_000) })
        .then((response) => response.text())
        .catch(() => '');
      const of = (name: string) => Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1] ?? 0);
      if (text !== '') {
        last = {
          leading: of('rowcast_leading') === 1,
          mutings: of('rowcast_mutings_total'),
          heard: of('rowcast_bus_heard_total'),
          gaps: of('rowcast_bus_gaps_total'),
          fallbacks: of('rowcast_bus_fallbacks_total'),
        };
      }
      return last;
    },
    byNats: () =>
      fetch(`${address}/readyz`, { signal: AbortSignal.timeout(1_000) })
        .then(async (response) => (await response.text()).includes('"bus":"nats"'))
        .catch(() => false),
    get died() {
      return died;
    },
    async end(signal) {
      told = true;
      program.kill(signal);
      const { code, stderr } = await program.ended;
      if (signal === 'SIGTERM' && code !== 0)
        throw new Error(`drained, an instance ended with ${code}: ${stderr}`);
    },
  };
}
