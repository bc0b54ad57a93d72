/*
 * Intrusive circular lists in the order of a sequence number.
 *
 *        +--------------------------------------------------+
 *        v                                                  |
 *      Fifo (head) <-> entry 3 <-> entry 7 <-> entry 9 <----+
 *
 * An entry is in at most one list and contains its links, so adding and removing cost a few stores and
 * no allocation, and removing does not need the list. An entry that is not in a list points to itself.
 *
 * Entries nearly always arrive in the order of their numbers. An entry that does not (a timer whose
 * deadline was moved outward keeps its older number) is appended and marks the list as unsorted; the
 * next operation that takes from the list sorts it: a merge sort in place, O(k log k) for k entries, no
 * allocation. So adding is O(1) in any order of arrival.
 *
 * Sequence numbers come from one counter for the whole process, split into `_era` and `_seq` so
 * that both always stay small integers (a double would be boxed: 16 bytes per handle).
 */

/** An entry of a list. */
export interface Entry {
  _next: Entry;
  _prev: Entry;
  _seq: number;
  _era: number;
}

const ERA = 2 ** 30;
const counter = { seq: 0, era: 0 };

/** Gives an entry the next sequence number. */
export function stamp(entry: Entry): void {
  const seq = counter.seq + 1;
  if (seq === ERA) {
    counter.seq = 0;
    counter.era++;
  } else counter.seq = seq;
  entry._seq = counter.seq;
  entry._era = counter.era;
}

/** For specs: sets the counter to the end of its era. */
export function toEndOfEra(): void {
  counter.seq = ERA - 2;
}

/** Whether `a` came after `b`. */
export function after(a: Entry, b: Entry): boolean {
  return a._era === b._era ? a._seq > b._seq : a._era > b._era;
}

/** Removes an entry from its list; does nothing if it is not in a list. */
export function unlink(entry: Entry): void {
  const next = entry._next;
  const prev = entry._prev;
  prev._next = next;
  next._prev = prev;
  entry._next = entry;
  entry._prev = entry;
}

/** A queue ordered by sequence number. The object is the head of its ring. */
export class Fifo<E extends Entry> implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  /** Less than that of any entry. */
  _era = -1;
  #unsorted = false;

  get empty(): boolean {
    return this._next === this;
  }

  /** The first entry; undefined if the list is empty. */
  get first(): E | undefined {
    if (this.#unsorted) this.#sort();
    return this._next === this ? undefined : (this._next as E);
  }

  /** Adds an entry that is not in a list, at the place of its number. */
  append(entry: E): void {
    if (after(this._prev, entry)) this.#unsorted = true;
    this.push(entry);
  }

  /** Adds an entry that is not in a list and is later than all entries of this one. */
  push(entry: E): void {
    const tail = this._prev;
    entry._prev = tail;
    entry._next = this;
    tail._next = entry;
    this._prev = entry;
  }

  /** Removes and returns the first entry. */
  shift(): E | undefined {
    if (this.#unsorted) this.#sort();
    const entry = this._next;
    if (entry === this) return undefined;
    const next = entry._next;
    this._next = next;
    next._prev = this;
    entry._next = entry;
    entry._prev = entry;
    return entry as E;
  }

  /**
   * Empties the list, and returns the first of its chained entries; the chain ends at the list itself. The
   * caller has to put each entry into another list.
   */
  detach(): Entry {
    if (this.#unsorted) this.#sort();
    const first = this._next;
    this._next = this;
    this._prev = this;
    return first;
  }

  /** The entries in order. The current entry may be removed during the iteration. */
  *[Symbol.iterator](): Generator<E, void, undefined> {
    if (this.#unsorted) this.#sort();
    for (let entry = this._next; entry !== this;) {
      const next = entry._next;
      yield entry as E;
      entry = next;
    }
  }

  /** A bottom-up merge sort: bin i holds a sorted run of 2^i entries, each run ending at the head. */
  #sort(): void {
    this.#unsorted = false;
    let used = 0;
    let entry = this._next;
    while (entry !== this) {
      const rest = entry._next;
      let run = entry;
      run._next = this;
      let bin = 0;
      for (; bin < used && bins[bin] !== undefined; bin++) {
        run = merge(bins[bin] as Entry, run, this);
        bins[bin] = undefined;
      }
      if (bin === used) used++;
      bins[bin] = run;
      entry = rest;
    }
    let sorted: Entry = this;
    for (let bin = 0; bin < used; bin++) {
      const run = bins[bin];
      if (run !== undefined) sorted = merge(run, sorted, this);
      bins[bin] = undefined;
    }
    this._next = sorted;
    let prev: Entry = this;
    for (let at = sorted; at !== this; at = at._next) {
      at._prev = prev;
      prev = at;
    }
    this._prev = prev;
  }
}

/** Moves all entries of one list to another, which must be empty. */
export function moveAll<E extends Entry>(from: Fifo<E>, to: Fifo<E>): void {
  const { first } = from;
  if (first === undefined) return;
  const last = from._prev;
  to._next = first;
  to._prev = last;
  first._prev = to;
  last._next = to;
  from._next = from;
  from._prev = from;
}

/** 32 bins: a heap cannot hold 2^32 entries. */
const bins: (Entry | undefined)[] = Array.from({ length: 32 }, () => undefined);

/** Merges two sorted runs, both ending at `end`; among equals, `earlier` goes first. */
function merge(earlier: Entry, later: Entry, end: Entry): Entry {
  let a = earlier;
  let b = later;
  if (b === end) return a;
  let first: Entry;
  if (after(a, b)) {
    first = b;
    b = b._next;
  } else {
    first = a;
    a = a._next;
  }
  let tail = first;
  while (a !== end && b !== end) {
    if (after(a, b)) {
      tail._next = b;
      tail = b;
      b = b._next;
    } else {
      tail._next = a;
      tail = a;
      a = a._next;
    }
  }
  tail._next = a === end ? b : a;
  return first;
}
