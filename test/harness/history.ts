/**
 * A database's history in memory, and followers of it that know by plain sets what their positions should say.
 *
 * Transactions begin, take their place in the log, commit or roll back, in any order; a follower hears of commits one
 * by one, or reads them by a snapshot, and may break off anywhere.
 */
import {
  includes,
  type Position,
  partsIn,
  positionAt,
  type Snapshot,
  withCommit,
  withPartial,
  withReading,
} from '../../src/position.ts';

export interface Transaction {
  readonly xid: bigint;
  state: 'open' | 'committed' | 'rolled back';
  /** The id of its last part; 0 while it changed nothing that is watched. */
  id: bigint;
  parts: number;
}

/** A position, and what it stands for: how many parts of which transactions, and lines of one. */
export interface Known {
  readonly position: Position;
  readonly parts: ReadonlyMap<bigint, number>;
  readonly partial: { readonly xid: bigint; readonly lines: number } | null;
}

/** What happened to a follower's commit: all of it, from a line on. */
export type OnCommit = (transaction: Transaction, fromLine: number, toLine: number, known: Known) => void;

export const LINES = 4;

export class History {
  readonly transactions: Transaction[] = [];
  #nextXid = 10n;
  #nextId = 1n;
  #latest = 9n;
  #clock = 1n;

  begin(): void {
    this.transactions.push({ xid: this.#nextXid++, state: 'open', id: 0n, parts: 0 });
  }

  /** The nth open transaction writes its part of the log. */
  fire(n: number): void {
    const one = pick(this.#open(), n);
    if (one === undefined || one.parts > 1) return;
    one.id = this.#nextId++;
    one.parts++;
  }

  end(n: number, state: 'committed' | 'rolled back'): void {
    const one = pick(this.#open(), n);
    if (one === undefined) return;
    one.state = state;
    if (one.xid > this.#latest) this.#latest = one.xid;
  }

  snapshot(): Snapshot {
    const xmax = this.#latest + 1n;
    const inProgress = this.#open()
      .map(({ xid }) => xid)
      .filter((xid) => xid < xmax);
    return { xmin: inProgress[0] ?? xmax, xmax, inProgress, atUs: this.#clock++ };
  }

  /** Those in the log. */
  committed(): Transaction[] {
    return this.transactions.filter(({ state, parts }) => state === 'committed' && parts > 0);
  }

  #open(): Transaction[] {
    return this.transactions.filter(({ state }) => state === 'open');
  }
}

export class Follower {
  readonly #history: History;
  readonly #onCommit: OnCommit;
  known: Known;

  constructor(history: History, onCommit: OnCommit = () => {}) {
    this.#history = history;
    this.#onCommit = onCommit;
    this.known = this.#at(history.snapshot());
  }

  /** Hears of the nth commit that it lacks: of all its parts, or the first alone. */
  hear(n: number, firstAlone: boolean): void {
    const { position } = this.known;
    const lacks = (one: Transaction) => partsIn(position, one.xid, one.id) < one.parts;
    const candidates = this.#history.committed().filter(lacks);
    // What was broken off goes on before anything else.
    const one =
      position.partial === null
        ? pick(candidates, n)
        : candidates.find(({ xid }) => xid === position.partial?.xid);
    if (one === undefined) return;
    const alone = firstAlone && position.partial === null && !includes(position, one.xid, one.id);
    const parts = alone ? 1 : one.parts;
    this.#take(one, parts, withCommit(position, one.xid, parts));
  }

  /** Reads the log; breaks off after so many commits and, within the next one, lines. */
  read(commits: number, lines: number): void {
    const snapshot = this.#history.snapshot();
    const start = this.known.position;
    const seen = this.#history
      .committed()
      .filter((one) => partsIn(start, one.xid, one.id) < one.parts)
      .sort((a, b) => Number(isBroken(start, b)) - Number(isBroken(start, a)) || (a.id < b.id ? -1 : 1));
    for (const one of seen.slice(0, commits)) {
      const { position } = this.known;
      const whole = isBroken(position, one)
        ? withCommit(position, one.xid, one.parts)
        : withReading(position, { snapshot, id: one.id });
      this.#take(one, one.parts, whole);
    }
    const next = seen[commits];
    if (next === undefined) this.known = this.#at(snapshot);
    else this.#breakOff(next, lines);
  }

  #breakOff(one: Transaction, lines: number): void {
    const { partial } = this.known;
    const from = partial?.xid === one.xid ? partial.lines : 0;
    if (lines <= from || lines >= LINES) return;
    const next = { xid: one.xid, lines };
    this.known = {
      ...this.known,
      position: withPartial(this.known.position, next),
      partial: next,
    };
    this.#onCommit(one, from, lines, this.known);
  }

  #take(one: Transaction, parts: number, position: Position): void {
    const from = this.known.partial?.xid === one.xid ? this.known.partial.lines : 0;
    this.known = { position, parts: new Map([...this.known.parts, [one.xid, parts]]), partial: null };
    this.#onCommit(one, from, LINES, this.known);
  }

  #at(snapshot: Snapshot): Known {
    const parts = new Map(this.#history.committed().map((one) => [one.xid, one.parts]));
    return { position: positionAt(snapshot), parts, partial: null };
  }
}

function isBroken({ partial }: Position, { xid }: Transaction): boolean {
  return partial?.xid === xid;
}

function pick<T>(items: readonly T[], n: number): T | undefined {
  return items[n % Math.max(items.length, 1)];
}
