/**
 * The topics of one table, and which of them a change concerns.
 *
 * Those with equality filters are found by value, so its cost does not grow with how many there are; those with other
 * filters alone are tried one by one. Each row is looked at once, for all topics together, and not at all where no
 * topic has a filter.
 */
import type { TableChange } from '../commit.ts';
import { allHold, effectOf, type Matcher, type Row, type Rows, rowsOf } from '../matching.ts';
import type { Effect } from '../protocol.ts';
import type { Op } from '../topic.ts';
import { withEffect } from './effect.ts';
import { type Entry, Group, planOf } from './group.ts';

/** What is found: a topic's operations and filters. */
export interface Routed {
  readonly ops: readonly Op[];
  readonly matcher: Matcher | undefined;
}

/** Whether a topic's filters hold; undefined where they cannot judge. */
type Verdict = boolean | undefined;

export interface Findings<R> {
  /** The change concerns the topic, and looks like this to it. */
  take(route: R, wire: string): void;
  /** The change has a column less, or a value of another type, than the topic's filters were made for. */
  stale(route: R): void;
}

export class TableIndex<R extends Routed> {
  readonly #all = new Set<R>();
  readonly #unfiltered = new Set<R>();
  readonly #tried = new Set<R>();
  readonly #groups = new Map<string, Group<R>>();
  /** Who looks at which column. */
  readonly #columns = new Map<string, Set<R>>();

  get size(): number {
    return this.#all.size;
  }

  /** How much there is of everything; all zero when no topic is left. */
  get counts(): { groups: number; keys: number; columns: number; tried: number; unfiltered: number } {
    let keys = 0;
    for (const group of this.#groups.values()) keys += group.keys;
    return {
      keys,
      groups: this.#groups.size,
      columns: this.#columns.size,
      tried: this.#tried.size,
      unfiltered: this.#unfiltered.size,
    };
  }

  add(route: R): void {
    this.#all.add(route);
    if (route.matcher === undefined) {
      this.#unfiltered.add(route);
      return;
    }
    for (const { column } of route.matcher.conditions) {
      const users = this.#columns.get(column);
      if (users === undefined) this.#columns.set(column, new Set([route]));
      else users.add(route);
    }
    const plan = planOf(route.matcher);
    if (plan === null) {
      this.#tried.add(route);
      return;
    }
    let group = this.#groups.get(plan.signature);
    if (group === undefined) {
      group = new Group(plan);
      this.#groups.set(plan.signature, group);
    }
    group.add(route, plan);
  }

  remove(route: R): void {
    this.#all.delete(route);
    this.#unfiltered.delete(route);
    this.#tried.delete(route);
    if (route.matcher === undefined) return;
    for (const { column } of route.matcher.conditions) {
      const users = this.#columns.get(column);
      users?.delete(route);
      if (users?.size === 0) this.#columns.delete(column);
    }
    const plan = planOf(route.matcher);
    if (plan === null) return;
    const group = this.#groups.get(plan.signature);
    group?.remove(route);
    if (group?.size === 0) this.#groups.delete(plan.signature);
  }

  /** Tells which topics the change concerns. */
  find(change: TableChange, findings: Findings<R>): void {
    if (change.op === 'truncate') {
      for (const route of this.#all) if (route.ops.includes('truncate')) findings.take(route, change.wire);
      return;
    }
    for (const route of this.#unfiltered)
      if (route.ops.includes(change.op)) findings.take(route, change.wire);
    if (this.#unfiltered.size === this.#all.size) return;
    const rows = rowsOf(change, this.#columns);
    this.#findMissing(rows, findings);
    const tell = this.#teller(change, findings);
    for (const route of this.#tried) {
      const conditions = route.matcher?.conditions ?? [];
      const before = rows.before !== null && allHold(conditions, rows.before);
      tell(
        route,
        before,
        rows.after === rows.before ? before : rows.after !== null && allHold(conditions, rows.after),
      );
    }
    for (const group of this.#groups.values()) findInGroup(group, rows, tell, findings);
  }

  #findMissing({ before, after }: Rows, { stale }: Findings<R>): void {
    const row = after ?? before;
    if (row === null || row.size === this.#columns.size) return;
    for (const [column, users] of this.#columns)
      if (!row.has(column)) for (const route of users) stale(route);
  }

  /** Each effect's text is made once for all topics. */
  #teller({ op, wire }: TableChange, { take, stale }: Findings<R>): Tell<R> {
    const texts = new Map<Effect, string>();
    return (route, before, after) => {
      if (before === undefined || after === undefined) {
        stale(route);
        return;
      }
      const effect = effectOf(before, after);
      if (effect === null || !route.ops.includes(op)) return;
      let text = texts.get(effect);
      if (text === undefined) {
        text = withEffect(wire, effect);
        texts.set(effect, text);
      }
      take(route, text);
    };
  }
}

type Tell<R> = (route: R, before: Verdict, after: Verdict) => void;

function findInGroup<R>(
  group: Group<R>,
  { before, after }: Rows,
  tell: Tell<R>,
  { stale }: Findings<R>,
): void {
  const afterKey = after === null ? null : group.keyOf(after);
  const beforeKey = before === after ? afterKey : before === null ? null : group.keyOf(before);
  if (afterKey === undefined || beforeKey === undefined) {
    for (const route of group.routes()) stale(route);
    return;
  }
  if (afterKey !== null) {
    for (const entry of group.find(afterKey)) {
      const matches = holds(entry, after);
      const matched =
        before === after ? matches : beforeKey !== null && entry.keys.has(beforeKey) && holds(entry, before);
      tell(entry.route, matched, matches);
    }
  }
  if (beforeKey === null || beforeKey === afterKey) return;
  for (const entry of group.find(beforeKey)) {
    if (afterKey === null || !entry.keys.has(afterKey)) tell(entry.route, holds(entry, before), false);
  }
}

function holds<R>({ rest }: Entry<R>, row: Row | null): Verdict {
  return row !== null && allHold(rest, row);
}
