/** How a list of transactions is spelled in a cursor: in ascending order, runs of them together, as differences. */

/** A list that is spelled while it grows. */
export class Spelling {
  readonly #base: bigint;
  /** All but how long the last run is. */
  #text = '';
  #length = 0;
  #parts = 0;
  /** What makes the last run longer. */
  #next: bigint;

  constructor(base: bigint) {
    this.#base = base;
    this.#next = base;
  }

  /** False for what is not beyond all that is there. */
  add([xid, parts]: readonly [xid: bigint, parts: number]): boolean {
    const isNext = this.#length > 0 && xid === this.#next;
    if (isNext && parts === this.#parts) {
      this.#length++;
    } else {
      const isFirst = this.#length === 0;
      if (!isNext && !isFirst && xid < this.#next) return false;
      const from = isFirst ? this.#base : this.#next - 1n;
      this.#text = `${isFirst ? '' : `${this.toString()}~`}${(xid - from).toString(36)}`;
      this.#length = 1;
      this.#parts = parts;
    }
    this.#next = xid + 1n;
    return true;
  }

  toString(): string {
    const many = this.#length > 1 ? `-${this.#length.toString(36)}` : '';
    return this.#parts > 1 ? `${this.#text}${many}*${this.#parts.toString(36)}` : this.#text + many;
  }
}

export function spellingOf(numbers: Iterable<readonly [xid: bigint, parts: number]>, base: bigint): Spelling {
  const spelling = new Spelling(base);
  for (const entry of [...numbers].sort(([a], [b]) => (a < b ? -1 : 1))) spelling.add(entry);
  return spelling;
}
