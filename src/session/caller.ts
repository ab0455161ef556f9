/** The caller: who a session's client is, until when, and what it sends while that is being found out. */
import type { Identity } from '../identity.ts';
import type { Verified } from './host.ts';
import { Early } from './limits.ts';

export class Caller {
  /** Null for a client without a token. */
  identity: Identity | null = null;
  #expiresAtMs: number | null = null;
  /** What waits while a token is being checked. */
  early: Early | null = null;

  know(verified: Verified): void {
    this.identity = verified.identity;
    this.#expiresAtMs = verified.expiresAtMs;
  }

  /** Whether the token has run out, also while another is being checked; `nowMs` since the epoch. */
  isOver(nowMs: number): boolean {
    return this.#expiresAtMs !== null && nowMs >= this.#expiresAtMs;
  }

  /** What comes from now on waits. */
  wait(): void {
    this.early = new Early();
  }

  /** Gives what came meanwhile. */
  goOn(): string[] {
    const frames = this.early?.take() ?? [];
    this.early = null;
    return frames;
  }
}
