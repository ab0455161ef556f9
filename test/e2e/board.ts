/** What runs in the page: what the order board shows, and whether any row of it blinked or was there twice. */
import type { Page } from 'playwright-core';

/** Each order with its state, by the numbers of the orders. */
export function board(page: Page): Promise<[id: string, state: string][]> {
  return page.evaluate(() => {
    const cards = [...document.querySelectorAll<HTMLElement>('#board .card')].map(
      (card): [string, string] => [
        card.dataset['id'] ?? '',
        card.closest('section')?.querySelector('h2 span')?.textContent ?? '',
      ],
    );
    return cards.sort(([a], [b]) => Number(a) - Number(b));
  });
}

/** From now on, looks at the board with each picture that is painted. */
export function observeBoard(): void {
  const faults: string[] = [];
  const gone = new Set<string>();
  let before = new Set<string>();
  function look(): void {
    const ids = [...document.querySelectorAll<HTMLElement>('#board .card')].map(
      (card) => card.dataset['id'] ?? '',
    );
    const now = new Set(ids);
    if (now.size < ids.length) faults.push(`doubled: ${ids}`);
    for (const id of before) if (!now.has(id)) gone.add(id);
    for (const id of now) if (gone.has(id)) faults.push(`blinked: ${id}`);
    before = now;
    requestAnimationFrame(look);
  }
  look();
  Object.assign(window, { boardFaults: faults });
}

export function observedFaults(): unknown {
  return 'boardFaults' in window ? window.boardFaults : ['the board was not observed'];
}
