/**
 * The metrics of commits. Each commit adds to all of them, at a rate at which prom-client's own bookkeeping shows: so
 * they are counted here. Counters are handed over when they are asked for, and the histogram is written out.
 */
import { Counter, type Registry } from 'prom-client';
import type { ObservationOf } from '../observation.ts';

type Seen = ObservationOf<'feed.commit'>;

export interface CommitMetrics {
  observe(seen: Seen): void;
  /** What the registry has not. */
  text(): string;
}

const BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const LAG = 'rowcast_commit_lag_seconds';

/** What came from one source. */
class Tally {
  readonly source: Seen['source'];
  commits = 0;
  #lagSeconds = 0;
  /** How many were within each bound and not within the one before; the last: beyond all. */
  readonly #within = [...BOUNDS, Number.POSITIVE_INFINITY].map(() => 0);

  constructor(source: Seen['source']) {
    this.source = source;
  }

  add(lagMs: number): void {
    // The two clocks may differ by a little: a commit is never early.
    const seconds = lagMs > 0 ? lagMs / 1_000 : 0;
    let nth = 0;
    for (const bound of BOUNDS) {
      if (seconds <= bound) break;
      nth++;
    }
    this.#within[nth] = (this.#within[nth] ?? 0) + 1;
    this.#lagSeconds += seconds;
    this.commits++;
  }

  /** A bucket has all up to its bound. */
  lines(): string[] {
    if (this.commits === 0) return [];
    const source = `source="${this.source}"`;
    let upTo = 0;
    const buckets = this.#within.map((count, nth) => {
      upTo += count;
      return `${LAG}_bucket{le="${BOUNDS[nth] ?? '+Inf'}",${source}} ${upTo}`;
    });
    return [
      ...buckets,
      `${LAG}_sum{${source}} ${this.#lagSeconds}`,
      `${LAG}_count{${source}} ${this.commits}`,
    ];
  }
}

export function createCommitMetrics(registry: Registry): CommitMetrics {
  const registers = [registry];
  const inline = new Tally('inline');
  const read = new Tally('read');
  let changes = 0;
  new Counter({
    name: 'rowcast_commits_total',
    help: 'Commits heard, inline or by a read of the log.',
    registers,
    labelNames: ['source'],
    collect() {
      this.reset();
      for (const { source, commits } of [inline, read]) this.inc({ source }, commits);
    },
  });
  new Counter({
    name: 'rowcast_changes_total',
    help: 'Changes in the commits heard.',
    registers,
    collect() {
      this.reset();
      this.inc(changes);
    },
  });

  return {
    observe(seen) {
      changes += seen.changes;
      (seen.source === 'inline' ? inline : read).add(seen.lagMs);
    },
    text() {
      const help = [
        `# HELP ${LAG} From the commit in PostgreSQL to its publication.`,
        `# TYPE ${LAG} histogram`,
      ];
      return `${[...help, ...inline.lines(), ...read.lines()].join('\n')}\n`;
    },
  };
}
