/** How numbers are read, written and compared: as doubles by `JSON` itself, or as what is handed in does it (`exact`). */
import type { ServerFrame } from '../protocol/server-frame.ts';

export interface Numbers {
  /** A frame of the service, which keeps to PROTOCOL.md. */
  parse(text: string): ServerFrame;
  stringify(value: unknown): string;
  /** Compares two values of a column that are not null. Undefined where they are no numbers. */
  compare?(a: unknown, b: unknown, column: string): number | undefined;
}
