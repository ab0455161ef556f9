/**
 * The roll call: asks all instances about their sessions, and collects what they answer.
 *
 * Question and answers are announcements: they go through the log, and so reach every instance, however they hear.
 * It promises an answer within a deadline, which says how many instances are missing from it.
 */
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

type Question = { readonly list: ListRequest } | { readonly disconnect: Whom };
interface Answer {
  readonly sessions: SessionInfo[];
  readonly disconnected: number;
}
type Announcement =
  | { readonly ask: string; readonly by: string; readonly question: Question }
  | { readonly answers: string; readonly to: string; readonly answer: Answer };

const DEADLINE_MS = 3_000;

export function createRollCall(options: RollCallOptions): RollCall {
  const { local, announce, instances, newId, observe, deadlineMs = DEADLINE_MS } = options;
  const self = newId();
  const waiting = new Map<string, (answer: Answer) => void>();

  function tell(announcement: Announcement): Promise<void> {
    return announce(JSON.stringify(announcement));
  }

  function answerTo(question: Question): Answer {
    if ('list' in question) return { sessions: local.list(question.list), disconnected: 0 };
    return { sessions: [], disconnected: local.disconnect(question.disconnect) };
  }

  async function ask(question: Question): Promise<{ answers: Answer[]; missing: number }> {
    const expected = await instances();
    const id = newId();
    const answers = [answerTo(question)];
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const look = () => answers.length >= expected && resolve();
        waiting.set(id, (answer) => {
          answers.push(answer);
          look();
        });
        timer = setTimeout(resolve, deadlineMs);
        if (expected > 1) tell({ ask: id, by: self, question }).catch(reject);
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
      const sessions = answers.flatMap((answer) => answer.sessions).sort((a, b) => (a.id < b.id ? -1 : 1));
      return { sessions: sessions.slice(0, request.limit), missing };
    },
    async disconnect(whom) {
      const { answers, missing } = await ask({ disconnect: whom });
      return { disconnected: answers.reduce((sum, { disconnected }) => sum + disconnected, 0), missing };
    },
    onAnnounced(text) {
      // The log is ours alone.
      const announcement: Announcement = JSON.parse(text);
      if ('answers' in announcement) {
        if (announcement.to === self) waiting.get(announcement.answers)?.(announcement.answer);
      } else if (announcement.by !== self) {
        const { ask: id, by, question } = announcement;
        tell({ answers: id, to: by, answer: answerTo(question) }).catch((error: unknown) =>
          observe({ type: 'message.failed', messages: 1, error: reasonOf(error) }),
        );
      }
    },
  };
}
