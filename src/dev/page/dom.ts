/** What the views share: finding elements, making them, and lists that change no more than they must. */

/** The element of that id, which the page has. */
export function at<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * Gives what shows rows in an element, in their order: whose row is the same object stays as it is, others are made
 * anew and marked as fresh. The first rows are not.
 */
export function keyed<T>(
  list: HTMLElement,
  keyOf: (row: T) => unknown,
  show: (row: T) => HTMLElement,
): (rows: readonly T[]) => void {
  const shown = new Map<unknown, { row: T; element: HTMLElement }>();
  let isFirst = true;
  return (rows) => {
    const gone = new Map(shown);
    let place: Element | null = list.firstElementChild;
    for (const row of rows) {
      const key = keyOf(row);
      gone.delete(key);
      let one = shown.get(key);
      if (one?.row !== row) {
        const element = show(row);
        if (!isFirst) element.classList.add('fresh');
        const hadFocus = one?.element.contains(document.activeElement) === true;
        if (one !== undefined) {
          if (place === one.element) place = element;
          one.element.replaceWith(element);
        }
        one = { row, element };
        shown.set(key, one);
        if (hadFocus) element.querySelector('button')?.focus();
      }
      if (place === one.element) place = place.nextElementSibling;
      else list.insertBefore(one.element, place);
    }
    for (const [key, { element }] of gone) {
      element.remove();
      shown.delete(key);
    }
    isFirst = false;
  };
}

/** Posts JSON to the demo's server. Throws what it answers where it refuses. */
export async function post(path: string, body: object): Promise<unknown> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`/demo/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  const answer: unknown = await response.json();
  if (response.ok) return answer;
  const isError = typeof answer === 'object' && answer !== null && 'error' in answer;
  throw new Error(isError ? String(answer.error) : response.statusText);
}

/** Does what a form asks for, and says beside it where that fails. */
export function onSubmit(
  id: string,
  work: (fields: FormData, form: HTMLFormElement) => Promise<unknown>,
): void {
  const form = at(id, HTMLFormElement);
  const complaint = at(`${id}-complaint`, HTMLElement);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    complaint.textContent = '';
    try {
      await work(new FormData(form), form);
    } catch (error) {
      complaint.textContent = error instanceof Error ? error.message : String(error);
    }
  });
}
