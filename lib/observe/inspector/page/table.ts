import { create, setText } from './dom.ts';

/** A column of a table. */
export interface TableColumn<T> {
  readonly title: string;
  /** Longer than the title: what is shown when the pointer is over it. */
  readonly hint?: string;
  readonly text: (row: T) => string;
  readonly kind?: 'number' | 'text';
  /** The class of the cell, to mark what needs attention. */
  readonly mark?: (row: T) => string;
  /** Makes the text a button. */
  readonly open?: (row: T) => void;
}

/**
 * A table whose rows are filled again and again. Elements are kept, so that the focus stays where it is, and a
 * selection too.
 */
export class LiveTable<T> {
  readonly #body: HTMLTableSectionElement;
  readonly #columns: readonly TableColumn<T>[];
  readonly #empty: string;
  #rows: readonly T[] = [];

  /** @param empty - what is said if there are no rows */
  constructor(table: HTMLElement, columns: readonly TableColumn<T>[], empty: string) {
    this.#columns = columns;
    this.#empty = empty;
    const head = create('thead');
    const row = create('tr');
    for (const { title, hint = '', kind = '' } of columns) {
      const cell = create('th', kind, title);
      cell.scope = 'col';
      if (hint !== '') cell.title = hint;
      row.append(cell);
    }
    head.append(row);
    this.#body = create('tbody');
    table.replaceChildren(head, this.#body);
  }

  show(rows: readonly T[]): void {
    this.#rows = rows;
    const body = this.#body;
    if (rows.length === 0) {
      const cell = create('td', 'empty', this.#empty);
      cell.colSpan = this.#columns.length;
      const row = create('tr');
      row.append(cell);
      body.replaceChildren(row);
      return;
    }
    if (body.querySelector('.empty') !== null) body.replaceChildren();
    while (body.rows.length > rows.length) body.deleteRow(-1);
    for (const [at, row] of rows.entries()) this.#fillRow(body.rows[at] ?? this.#addRow(at), row);
  }

  #addRow(at: number): HTMLTableRowElement {
    const row = create('tr');
    for (const [index, { kind = '', open }] of this.#columns.entries()) {
      const cell = create(index === 0 ? 'th' : 'td', kind);
      if (index === 0) cell.scope = 'row';
      if (open !== undefined) {
        const button = create('button', 'link');
        button.type = 'button';
        button.addEventListener('click', () => {
          const shown = this.#rows[at];
          if (shown !== undefined) open(shown);
        });
        cell.append(button);
      }
      row.append(cell);
    }
    this.#body.append(row);
    return row;
  }

  #fillRow(element: HTMLTableRowElement, row: T): void {
    for (const [index, { text, kind = '', mark, open }] of this.#columns.entries()) {
      const cell = element.cells[index] as HTMLTableCellElement;
      setText(open === undefined ? cell : (cell.firstElementChild as HTMLElement), text(row));
      if (mark !== undefined) cell.className = `${kind} ${mark(row)}`.trim();
    }
  }
}
