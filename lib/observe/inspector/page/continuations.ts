/*
 * The list of all continuations, as it was at one time: searched and sorted here, so that neither costs the program
 * anything. A row is an array of numbers; texts are stored once.
 */

import { COLUMNS, TEXT_COLUMNS, type Chunk, type Listing, type ListingEnd } from '../protocol.ts';

/** The name of a column. */
export type Column = (typeof COLUMNS)[number];

/** The order of the rows: by a column; or those that are late or stuck first, then by deadline. */
export type SortBy = Column | 'urgency';

/** One continuation. */
export type Entry = { readonly [Name in Column]: string | number | null };

type Row = readonly (number | null)[];

const AT: Readonly<Record<Column, number>> = Object.fromEntries(
  COLUMNS.map((column, at) => [column, at]),
) as Record<Column, number>;
/** The columns that are searched. */
const SEARCHED: readonly number[] = COLUMNS.slice(0, TEXT_COLUMNS).map((_, at) => at);

/** What was listed at one time. */
export class Continuations {
  readonly texts: string[] = [];
  readonly rows: Row[] = [];
  nowMs = 0;
  /** How many there were, of which some may not have been sent. */
  total = 0;
  tookMs = 0;
  isComplete = false;

  /** Takes one line of the answer. */
  add(line: Listing | Chunk | ListingEnd): void {
    if ('rows' in line) {
      for (const text of line.texts) this.texts.push(text);
      for (const row of line.rows) this.rows.push(row);
    } else if ('total' in line) {
      this.nowMs = line.nowMs;
      this.total = line.total;
    } else {
      this.tookMs = line.tookMs;
      this.isComplete = true;
    }
  }

  /** What a row says in a column. */
  value(at: number, column: Column): string | number | null {
    const index = AT[column];
    const value = this.rows[at]?.[index] ?? null;
    return value !== null && index < TEXT_COLUMNS ? (this.texts[value] ?? '') : value;
  }

  /** One row as an object. */
  entry(at: number): Entry {
    return Object.fromEntries(
      COLUMNS.map((column) => [column, this.value(at, column)]),
    ) as unknown as Entry;
  }

  /**
   * How much a row needs attention: for how many ms it has been late, waiting or running; negative: it is due in so
   * many ms.
   */
  urgency(at: number): number {
    const lateMs = (this.value(at, 'lateMs') as number | null) ?? 0;
    const sinceMs = this.value(at, 'sinceMs') as number | null;
    const deadlineMs = this.value(at, 'deadlineMs') as number | null;
    if (lateMs > 0) return lateMs;
    if (deadlineMs !== null) return this.nowMs - deadlineMs;
    return sinceMs === null ? 0 : Math.max(0, this.nowMs - sinceMs);
  }

  /**
   * Returns the numbers of the rows that match, in order.
   *
   * @param search - words, each of which has to occur in a text of the row; `#7`: the continuation with this id
   */
  select(search: string, by: SortBy, isDescending: boolean): Int32Array {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = words.map((word) => this.#test(word));
    const found: number[] = [];
    for (const [at, row] of this.rows.entries()) {
      if (tests.every((test) => test(row))) found.push(at);
    }
    const keys = this.#keys(by);
    const sign = isDescending ? -1 : 1;
    return Int32Array.from(found).toSorted((a, b) => {
      const left = keys[a] as number;
      const right = keys[b] as number;
      if (left === right) return a - b;
      // What is not known comes last, in either order.
      if (Number.isNaN(left) || Number.isNaN(right)) {
        return Number.isNaN(left) ? (Number.isNaN(right) ? a - b : 1) : -1;
      }
      return left < right ? -sign : sign;
    });
  }

  #test(word: string): (row: Row) => boolean {
    if (/^#\d+$/.test(word)) {
      const id = Number(word.slice(1));
      return (row) => row[AT.id] === id;
    }
    const matching = new Set<number>();
    for (const [number, text] of this.texts.entries()) {
      if (text.toLowerCase().includes(word)) matching.add(number);
    }
    return (row) => SEARCHED.some((at) => row[at] !== null && matching.has(row[at] as number));
  }

  #keys(by: SortBy): Float64Array {
    const { rows } = this;
    if (by === 'urgency') return Float64Array.from(rows, (_, at) => this.urgency(at));
    const index = AT[by];
    if (index >= TEXT_COLUMNS) return Float64Array.from(rows, (row) => row[index] ?? NaN);
    const ranks = new Float64Array(this.texts.length);
    const sorted = [...this.texts.keys()].toSorted((a, b) =>
      (this.texts[a] as string).localeCompare(this.texts[b] as string),
    );
    for (const [rank, number] of sorted.entries()) ranks[number] = rank;
    return Float64Array.from(rows, (row) => {
      const number = row[index];
      return number === null || number === undefined ? NaN : (ranks[number] as number);
    });
  }
}
