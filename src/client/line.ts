/** What sources and members see of the connection. */

/**
 * Of the connection: `idle` while nothing is wanted, `connecting`, `open`, `offline` until it is back, `ended` by the
 * service for good, `closed`.
 */
export type ClientStatus = 'idle' | 'connecting' | 'open' | 'offline' | 'ended' | 'closed';

export interface Line<Source> {
  readonly status: ClientStatus;
  /** Sends while it is open. */
  send(frame: object): void;
  /** Names a new subscription of that source. */
  enter(source: Source): string;
  leave(id: string): void;
  /** The source has that canonical topic from now on. False where another one has it. */
  claim(source: Source, topic: string): boolean;
  /** Frames could not tell the source from another one: finds places elsewhere for those who follow it. */
  displace(source: Source): void;
}
