/**
 * The roll call: asks all instances about their sessions, and collects what they answer.
 *
 * Question and answers are announcements: they go through the log, and so reach every instance, however they hear.
 * It promises an answer within a deadline, which says how many instances are missing from it.
 */
import { z } from 'zod';
import { type Observe, reasonOf } from '../observation.ts';

/** A client that is connected. */
export interface SessionInfo {
  readonly id: string;
  readonly user: string | null;
  readonly transport: string;
  /** RFC 3339. */
  readonly since: string;
  readonly subscriptions: number;
}

export interface ListRequest {
  /** Of this user alone. */
  readonly user: string | null;
  /** Those whose ids come after this one. */
  readonly after: string | null;
  readonly limit: number;
}

export type Whom = { readonly session: string } | { readonly user: string };

export interface RollCall {
  /** Sessions of all instances, by their ids. `missing`: how many instances did not answer. */
  list(request: ListRequest): Promise<{ sessions: SessionInfo[]; missing: number }>;
  disconnect(whom: Whom): Promise<{ disconnected: number; missing: number }>;
  /** Takes an announcement. */
  onAnnounced(text: string): void;
}

/** The sessions of this instance. */
export interface Local {
  list(request: ListRequest): SessionInfo[];
  /** Gives how many there were. */
  disconnect(whom: Whom): number;
}

export interface RollCallOptions {
  local: Local;
  /** Tells all instances, this one too. */
  announce(text: string): Promise<void>;
  /** How many instances there are. */
  instances(): Promise<number>;
  newId(): string;
  observe: Observe;
  deadlineMs?: number;
}

const whom = z.union([z.object({ session: z.string() }), z.object({ user: z.string() })]);
const list = z.object({ user: z.string().nullable(), after: z.string().nullable(), limit: z.number() });
const question = z.union([z.object({ list }), z.object({ disconnect: whom })]);
const session = z.object({
  id: z.string(),
  user: z.string().nullable(),
  transport: z.string(),
  since: z.string(),
  subscriptions: z.number(),
});
const answer = z.object({ sessions: z.array(session), disconnected: z.number() });
const announcement = z.union([
  z.object({ ask: z.string(), by: z.string(), question }),
  z.object({ answers: z.string(), to: z.string(), answer }),
]);
type Question = z.output<typeof question>;
type Answer = z.output<typeof answer>;

const DEADLINE_MS = 3_000;

export function createRollCall(options: RollCallOptions): RollCall {
  const { local, announce, instances, newId, observe, deadlineMs = DEADLINE_MS } = options;
  const self = newId();
  const waiting = new Map<string, (answer: Answer) => void>();

  function tell(what: z.output<typeof announcement>): Promise<void> {
    return announce(JSON.stringify(what));
  }

  function answerTo(asked: Question): Answer {
    if ('list' in asked) return { sessions: local.list(asked.list), disconnected: 0 };
    return { sessions: [], disconnected: local.disconnect(asked.disconnect) };
  }

  async function ask(asked: Question): Promise<{ answers: Answer[]; missing: number }> {
    const expected = await instances();
    const id = newId();
    const answers = [answerTo(asked)];
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const look = () => answers.length >= expected && resolve();
        waiting.set(id, (given) => {
          answers.push(given);
          look();
        });
        timer = setTimeout(resolve, deadlineMs);
        if (expected > 1) tell({ ask: id, by: self, question: asked }).catch(reject);
        look();
      });
    } finally {
      clearTimeout(timer);
      waiting.delete(id);
    }
    return { answers, missing: Math.max(expected - answers.length, 0) };
  }

  return {
    async list(request) {
      const { answers, missing } = await ask({ list: request });
      const sessions = answers.flatMap(({ sessions }) => sessions).sort((a, b) => (a.id < b.id ? -1 : 1));
      return { sessions: sessions.slice(0, request.limit), missing };
    },
    async disconnect(whom) {
      const { answers, missing } = await ask({ disconnect: whom });
      return { disconnected: answers.reduce((sum, { disconnected }) => sum + disconnected, 0), missing };
    },
    onAnnounced(text) {
      const read = announcement.safeParse(parsed(text));
      if (!read.success) {
        // An instance of another version, or whoever writes to the log besides.
        observe({ type: 'feed.malformed', what: `an announcement of ${text.length} characters` });
      } else if ('answers' in read.data) {
        if (read.data.to === self) waiting.get(read.data.answers)?.(read.data.answer);
      } else if (read.data.by !== self) {
        const { ask: id, by } = read.data;
        tell({ answers: id, to: by, answer: answerTo(read.data.question) }).catch((error: unknown) =>
          observe({ type: 'message.failed', messages: 1, error: reasonOf(error) }),
        );
      }
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
