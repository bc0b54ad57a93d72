/** The element with an id, which is in the page. */
export function byId(id: string): HTMLElement {
  return document.getElementById(id) as HTMLElement;
}

/** A new element, with classes and a text. */
export function create<N extends keyof HTMLElementTagNameMap>(
  name: N,
  classes = '',
  text = '',
): HTMLElementTagNameMap[N] {
  const element = document.createElement(name);
  if (classes !== '') element.className = classes;
  if (text !== '') element.textContent = text;
  return element;
}

/** Sets a text that has changed: what has not is left as it is, and is not read aloud again. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows pairs of a term and its value. */
export function fillTerms(
  list: HTMLElement,
  terms: readonly (readonly [term: string, value: string])[],
): void {
  list.replaceChildren(
    ...terms.flatMap(([term, value]) => [create('dt', '', term), create('dd', '', value)]),
  );
}
