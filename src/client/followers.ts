/** Those who follow one topic here, and what they share. */

import type { RowcastError } from './error.ts';
import type { Member, Status } from './member.ts';

export class Followers extends Set<Member> {
  /** Some have their rows, and must not miss what comes after them. */
  get isAnyPlaced(): boolean {
    return [...this].some(({ isPlaced }) => isPlaced);
  }

  /** Calls for each whom it concerns. */
  each(call: (member: Member) => void): void {
    for (const member of [...this]) if (member.isPlaced) call(member);
  }

  /** The first who needs rows, once those whom others can give them have them. */
  needy(): Member | undefined {
    for (const member of this) this.#serve(member);
    return [...this].find(({ need }) => need !== undefined);
  }

  /** What has come is right: shows it, to those too who waited for that. */
  show(): void {
    for (const member of this) if (member.need === undefined) member.hearing = 'all';
    this.each((member) => member.show());
  }

  tell(error: RowcastError | undefined, statusOf: (member: Member) => Status): void {
    for (const member of this) {
      const status = statusOf(member);
      if (status === member.status && error === member.error) continue;
      member.status = status;
      member.error = error;
      member.statusChanged();
    }
  }

  #serve(member: Member): void {
    const { need } = member;
    if (need === undefined) return;
    for (const other of this) {
      const offered = other.isPlaced && other.hearing === 'all' ? other.collection?.offer(need) : undefined;
      if (offered === undefined) continue;
      member.begin(offered);
      member.show();
      return;
    }
  }
}
