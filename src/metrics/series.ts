import { Counter, Gauge, type Registry } from 'prom-client';

/** Makes series of a registry. */
export function seriesIn(registry: Registry) {
  const registers = [registry];
  return {
    counter: (name: string, help: string) => new Counter({ name, help, registers }),
    counterBy: <L extends string>(label: L, name: string, help: string) =>
      new Counter({ name, help, registers, labelNames: [label] }),
    gauge: (name: string, help: string) => new Gauge({ name, help, registers }),
    /** Asked for when the metrics are read. */
    asked: (name: string, help: string, value: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      }),
    /** The same for each of the label's values. */
    askedBy: <L extends string>(
      label: L,
      values: readonly string[],
      name: string,
      help: string,
      value: (of: string) => number,
    ) =>
      new Gauge({
        name,
        help,
        registers,
        labelNames: [label],
        collect() {
          for (const of of values) this.labels(of).set(value(of));
        },
      }),
  };
}
