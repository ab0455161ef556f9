/**
 * Peers: the other processes of a measurement, each a program of `peers/` that answers commands.
 *
 * Commands and answers carry numbers alone; what else a peer must know it is given at its start. A peer ends when
 * the process that started it does.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

export interface Peer {
  readonly pid: number;
  /** Sends a command and gives its answer. Rejects when the peer fails, ends or takes too long. */
  ask(command: string, ...numbers: number[]): Promise<number[]>;
  /** Sends a command that has no answer. */
  tell(command: string): void;
  stop(): Promise<void>;
}

/** What a peer does on each command. */
export type Commands = Readonly<Record<string, (...numbers: number[]) => number[] | Promise<number[]>>>;

const commandSchema = z.object({
  id: z.number().optional(),
  command: z.string(),
  numbers: z.array(z.number()),
});
const answerSchema = z.object({
  id: z.number(),
  numbers: z.array(z.number()),
  error: z.string().optional(),
});
type Answer = z.output<typeof answerSchema>;

const READY = 0;
const ANSWER_MS = 60_000;

/** Starts a peer; resolves when it takes commands. */
export async function startPeer(program: string, args: string[]): Promise<Peer> {
  const child = fork(fileURLToPath(new URL(`../peers/${program}.js`, import.meta.url)), args, { env: {} });
  const exited = once(child, 'exit');
  const waiting = new Map<number, (answer: Answer) => void>();
  let lastId = READY;

  child.on('message', (message) => {
    const answer = answerSchema.parse(message);
    waiting.get(answer.id)?.(answer);
  });
  child.on('exit', () => {
    for (const [id, answer] of waiting) answer({ id, numbers: [], error: 'it ended' });
  });

  function answerTo(id: number, what: string): Promise<number[]> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${program}, asked to ${what}: ${why}`));
      const timer = setTimeout(() => {
        waiting.delete(id);
        fail(`no answer in ${ANSWER_MS} ms`);
      }, ANSWER_MS);
      waiting.set(id, ({ numbers, error }) => {
        clearTimeout(timer);
        waiting.delete(id);
        if (error === undefined) resolve(numbers);
        else fail(error);
      });
    });
  }

  await answerTo(READY, 'start');
  const { pid } = child;
  if (pid === undefined) throw new Error(`cannot start ${program}`);
  return {
    pid,
    ask(command, ...numbers) {
      const id = ++lastId;
      const answered = answerTo(id, command);
      child.send({ id, command, numbers });
      return answered;
    },
    tell(command) {
      child.send({ command, numbers: [] });
    },
    async stop() {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

/** Makes this process a peer that obeys the commands. */
export function answer(commands: Commands): void {
  process.on('disconnect', () => process.exit());
  process.on('message', (message) => {
    const { id, command, numbers } = commandSchema.parse(message);
    const act = commands[command];
    if (act === undefined) throw new Error(`unknown command: ${command}`);
    if (id === undefined) act(...numbers);
    else void reply(id, () => act(...numbers));
  });
  process.send?.({ id: READY, numbers: [] });
}

async function reply(id: number, act: () => number[] | Promise<number[]>): Promise<void> {
  try {
    process.send?.({ id, numbers: await act() });
  } catch (error) {
    process.send?.({ id, numbers: [], error: String(error) });
  }
}
