/** What a measurement is, and what it hands to the runner. */
import type { Rig } from './rig/rig.ts';

/** What each value of a measurement is held against. */
export type Bound = { readonly atMost: number } | { readonly atLeast: number };

/** One line of a measurement's outcome. */
export interface Result {
  /** What was varied, such as the statement or the number of clients. */
  readonly case: string;
  /** What was seen on each side, by name and with its unit. */
  readonly figures: Readonly<Record<string, string>>;
  /** What the bound is for: a ratio, unless the measurement has a unit. */
  readonly value: number;
  /** What this value is held against, and its unit, where they are not those of the measurement. */
  readonly bound?: Bound;
  readonly unit?: string;
  /** Said, and not held against the bound: the other side does less than the same work. */
  readonly unbound?: true;
}

/** A comparison of rowcast with the barest thing that could stand in its place, both in one run. */
export interface Measurement {
  readonly name: string;
  /** What is compared with what, in a line. */
  readonly about: string;
  readonly bound: Bound;
  /** The unit of the values; left out where they are ratios. */
  readonly unit?: string;
  /** What it needs and this machine lacks: then it is skipped. */
  lacks?(): string | undefined;
  /** Gives one result a case. What it takes it keeps in the rig, which ends it. */
  run(rig: Rig): Promise<Result[]>;
}

/** Whether the value keeps to the bound. */
export function holds(value: number, bound: Bound): boolean {
  return 'atMost' in bound ? value <= bound.atMost : value >= bound.atLeast;
}
