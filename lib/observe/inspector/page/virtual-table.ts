/*
 * The table of all continuations. Of any number of rows, only those in view have elements. Rows are announced with
 * their place among all of them. The arrow keys, Page Up, Page Down, Home and End move between them.
 */

import type { Column, Continuations, SortBy } from './continuations.ts';
import { create, setText } from './dom.ts';
import { count, duration } from './format.ts';

interface Shown {
  readonly title: string;
  readonly sortBy: Column;
  readonly text: (list: Continuations, at: number) => string;
  readonly mark?: (list: Continuations, at: number) => string;
}

const ROW_PX = 32;
/** How many rows above and below the view have elements too. */
const MARGIN = 6;
const LATE_MS = 10;

function text(column: Column): (list: Continuations, at: number) => string {
  return (list, at) => String(list.value(at, column) ?? '–');
}

function since(list: Continuations, at: number): string {
  const sinceMs = list.value(at, 'sinceMs');
  return sinceMs === null ? '–' : duration(Math.max(0, list.nowMs - Number(sinceMs)));
}

function due(list: Continuations, at: number): string {
  const late = Number(list.value(at, 'lateMs') ?? 0);
  if (late > 0) return `${duration(late)} late`;
  const deadlineMs = list.value(at, 'deadlineMs');
  return deadlineMs === null ? '–' : `in ${duration(Math.max(0, Number(deadlineMs) - list.nowMs))}`;
}

function state(list: Continuations, at: number): string {
  const name = String(list.value(at, 'state'));
  const waitsFor = list.value(at, 'waitsFor');
  return waitsFor === null ? name : `waits: ${waitsFor}`;
}

const SHOWN: readonly Shown[] = [
  { title: 'Name', sortBy: 'name', text: text('name') },
  { title: 'State', sortBy: 'state', text: state },
  { title: 'Workqueue', sortBy: 'workqueue', text: text('workqueue') },
  {
    title: 'Due',
    sortBy: 'deadlineMs',
    text: due,
    mark: (list, at) => (Number(list.value(at, 'lateMs') ?? 0) > LATE_MS ? 'bad' : ''),
  },
  { title: 'Since', sortBy: 'sinceMs', text: since },
  { title: 'Lock', sortBy: 'lock', text: text('lock') },
  { title: 'CPU', sortBy: 'cpu', text: text('cpu') },
  { title: 'Id', sortBy: 'id', text: (list, at) => `#${list.value(at, 'id') ?? '–'}` },
];

/** Shows a list, and calls a function for the row that is opened. */
export class VirtualTable {
  readonly #table: HTMLElement;
  readonly #body: HTMLElement = create('div', 'body');
  readonly #headers: HTMLElement[] = [];
  readonly #rows = new Map<number, HTMLElement>();
  readonly #open: (list: Continuations, at: number) => void;
  #list: Continuations;
  #order: Int32Array = new Int32Array(0);
  #search = '';
  #sortBy: SortBy = 'urgency';
  #isDescending = true;
  /** The row that the keyboard is at. */
  #active = 0;
  readonly #sorted: (by: SortBy) => void;

  constructor(
    table: HTMLElement,
    list: Continuations,
    open: (list: Continuations, at: number) => void,
    sorted: (by: SortBy) => void,
  ) {
    this.#table = table;
    this.#list = list;
    this.#open = open;
    this.#sorted = sorted;
    const head = create('div', 'head');
    head.setAttribute('role', 'rowgroup');
    const row = create('div', 'row');
    row.setAttribute('role', 'row');
    row.setAttribute('aria-rowindex', '1');
    for (const { title, sortBy } of SHOWN) {
      const cell = create('div', 'cell');
      cell.setAttribute('role', 'columnheader');
      const button = create('button', '', title);
      button.type = 'button';
      button.addEventListener('click', () => this.orderBy(sortBy));
      cell.append(button);
      row.append(cell);
      this.#headers.push(cell);
    }
    head.append(row);
    this.#body.setAttribute('role', 'rowgroup');
    table.replaceChildren(head, this.#body);
    table.addEventListener('scroll', () => this.#render(), { passive: true });
    new ResizeObserver(() => this.#render()).observe(table);
    this.#body.addEventListener('keydown', (event) => this.#move(event));
  }

  /** How many rows match. */
  get found(): number {
    return this.#order.length;
  }

  show(list: Continuations): void {
    this.#list = list;
    this.#update();
  }

  search(words: string): void {
    this.#search = words;
    this.#active = 0;
    this.#table.scrollTop = 0;
    this.#update();
  }

  /** Sorts by a column; by the same again: the other way round. */
  orderBy(by: SortBy): void {
    this.#isDescending = by === 'urgency' || (by === this.#sortBy && !this.#isDescending);
    this.#sortBy = by;
    this.#table.scrollTop = 0;
    this.#active = 0;
    this.#sorted(by);
    this.#update();
  }

  #update(): void {
    this.#order = this.#list.select(this.#search, this.#sortBy, this.#isDescending);
    this.#active = Math.max(0, Math.min(this.#active, this.#order.length - 1));
    this.#table.setAttribute('aria-rowcount', String(this.#order.length + 1));
    for (const [index, cell] of this.#headers.entries()) {
      if (SHOWN[index]?.sortBy !== this.#sortBy) cell.removeAttribute('aria-sort');
      else cell.setAttribute('aria-sort', this.#isDescending ? 'descending' : 'ascending');
    }
    this.#body.style.height = `${this.#order.length * ROW_PX}px`;
    this.#render();
  }

  #render(): void {
    const { scrollTop, clientHeight } = this.#table;
    const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - MARGIN);
    const end = Math.min(
      this.#order.length,
      Math.ceil((scrollTop + clientHeight) / ROW_PX) + MARGIN,
    );
    for (const [place, element] of this.#rows) {
      // The row with the focus keeps it.
      const isKept = element.contains(document.activeElement) && place < this.#order.length;
      if ((place < first || place >= end) && !isKept) {
        element.remove();
        this.#rows.delete(place);
      }
    }
    for (let place = first; place < end; place++) this.#fill(place);
    for (const place of this.#rows.keys()) if (place < first || place >= end) this.#fill(place);
  }

  #fill(place: number): void {
    const element = this.#rows.get(place) ?? this.#create(place);
    const at = this.#order[place] as number;
    for (const [index, { text: textOf, mark }] of SHOWN.entries()) {
      const cell = element.children[index] as HTMLElement;
      const content = textOf(this.#list, at);
      setText(index === 0 ? (cell.firstElementChild as HTMLElement) : cell, content);
      if (cell.title !== content) cell.title = content;
      if (mark !== undefined) cell.className = `cell ${mark(this.#list, at)}`.trim();
    }
    const button = element.querySelector('button') as HTMLButtonElement;
    button.tabIndex = place === this.#active ? 0 : -1;
  }

  #create(place: number): HTMLElement {
    const row = create('div', 'row');
    row.setAttribute('role', 'row');
    row.setAttribute('aria-rowindex', String(place + 2));
    row.style.top = `${place * ROW_PX}px`;
    for (const index of SHOWN.keys()) {
      const cell = create('div', 'cell');
      cell.setAttribute('role', index === 0 ? 'rowheader' : 'cell');
      if (index === 0) {
        const button = create('button', 'link');
        button.type = 'button';
        button.addEventListener('click', () => {
          this.#active = place;
          this.#open(this.#list, this.#order[place] as number);
        });
        cell.append(button);
      }
      row.append(cell);
    }
    this.#rows.set(place, row);
    // In the order of the table, for those who read it.
    let next: HTMLElement | null = null;
    let nearest = Infinity;
    for (const [other, element] of this.#rows) {
      if (other > place && other < nearest) {
        nearest = other;
        next = element;
      }
    }
    this.#body.insertBefore(row, next);
    return row;
  }

  #move(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.#table.clientHeight / ROW_PX) - 2);
    const last = this.#order.length - 1;
    const places: Readonly<Record<string, number>> = {
      ArrowDown: this.#active + 1,
      ArrowUp: this.#active - 1,
      PageDown: this.#active + page,
      PageUp: this.#active - page,
      Home: 0,
      End: last,
    };
    const wanted = places[event.key];
    if (wanted === undefined || last < 0) return;
    event.preventDefault();
    this.#active = Math.max(0, Math.min(last, wanted));
    const top = this.#active * ROW_PX;
    // The head of the table covers one row.
    const { scrollTop, clientHeight } = this.#table;
    if (top < scrollTop) this.#table.scrollTop = top;
    else if (top + 2 * ROW_PX > scrollTop + clientHeight) {
      this.#table.scrollTop = top + 2 * ROW_PX - clientHeight;
    }
    this.#render();
    this.#rows.get(this.#active)?.querySelector('button')?.focus({ preventScroll: true });
    this.#render();
  }

  /** How many rows there are, in words. */
  get summary(): string {
    const { rows, total, isComplete } = this.#list;
    if (!isComplete) return `Reading ${count(total)} continuations …`;
    const all = `${count(rows.length)} ${rows.length === 1 ? 'continuation' : 'continuations'}`;
    const sent = rows.length < total - 1 ? `${all} of ${count(total)}` : all;
    return this.found === rows.length ? sent : `${count(this.found)} found in ${sent}`;
  }
}
