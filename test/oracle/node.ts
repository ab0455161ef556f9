/** An instance of the oracle: the program in a process of its own, so that it can be killed. */
import { addressOf, type Program, startProgram } from '../harness/program.ts';

export interface Node {
  /** Where clients connect. */
  readonly url: string;
  /** Ends it with SIGTERM, as an orchestrator does, or with SIGKILL, as a fault does. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Why it ended, though nobody told it to; null while it has not. */
  readonly died: string | null;
}

const SETTINGS = { HOST: '127.0.0.1', PORT: '0', ROWCAST_HEARTBEAT_MS: '500', ROWCAST_DRAIN_MS: '300' };

/** Starts one; again and again while the database is away. */
export async function startNode(databaseUrl: string, env: Record<string, string>): Promise<Node> {
  for (let tries = 1; ; tries++) {
    const program = startProgram(['serve'], { env: { ...SETTINGS, ...env, DATABASE_URL: databaseUrl } });
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
  void program.ended.then(({ code, stderr }) => {
    if (!told) died = `an instance ended by itself with ${code}: ${stderr}`;
  });
  return {
    url: `${address.replace('http', 'ws')}/ws`,
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
