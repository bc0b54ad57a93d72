/*
 * Lists in the order of a sequence number.
 *
 * Entries nearly always arrive in the order of their numbers. An entry that does not (a timer whose
 * deadline was moved outward keeps its older number) is appended and marks the list as unsorted; the
 * next operation that takes from the list sorts it: a merge sort in place, O(k log k) for k entries, no
 * allocation. So adding is O(1) in any order of arrival. `reinsert` puts an entry that goes before all others to the front
 * at once: the heir of a lock returns to its old place whenever it finds the lock taken, and would have a queue of
 * 100,000 waiters sorted each time, at 11 ms.
 *
 * Where entries without numbers are linked in the hot path (asynchronous runs, turnstiles), their list is one
 * of these too, though it never has to be sorted: with list heads of two classes, `unlink` sees five kinds
 * of objects and V8 does not specialize it any more. A contended continuation costs 460 ns then instead of
 * 370 (bench lock).
 *
 * Sequence numbers come from one counter for the whole process, split into `_era` and `_seq` so
 * that both always stay small integers (a double would be boxed: 16 bytes per handle).
 */

import { List, type Links } from './list.ts';

/** An entry of an ordered list. */
export interface Entry extends Links {
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

/** A place in a list: behind the entry with this number. */
export interface Mark {
  _seq: number;
  _era: number;
}

/** Returns the place before all entries. */
export function startMark(): Mark {
  return { _seq: 0, _era: -1 };
}

/** Whether `a` came after `b`. */
export function after(a: Mark, b: Mark): boolean {
  return a._era === b._era ? a._seq > b._seq : a._era > b._era;
}

/**
 * The list that an entry is in; undefined: it is in none. It is found by following the links in both directions, so that it
 * costs nothing near the ends of a long list, where most are looked for.
 */
export function listOf(entry: Entry): OrderedList<Entry> | undefined {
  let { _next: next, _prev: prev } = entry;
  while (next !== entry) {
    if (next instanceof OrderedList) return next as OrderedList<Entry>;
    if (prev instanceof OrderedList) return prev as OrderedList<Entry>;
    next = next._next;
    prev = prev._prev;
  }
  return undefined;
}

/** A list ordered by sequence number. */
export class OrderedList<E extends Links> extends List<E> implements Entry {
  declare _next: Entry;
  declare _prev: Entry;
  _seq = 0;
  /** Less than that of any entry. */
  _era = -1;
  #unsorted = false;

  override get first(): E | undefined {
    if (this.#unsorted) this.#sort();
    return this._next === this ? undefined : (this._next as Links as E);
  }

  /** Adds an entry that is not in a list, at the place of its number. */
  insert(entry: E & Entry): void {
    if (after(this._prev, entry)) this.#unsorted = true;
    this.push(entry);
  }

  /**
   * Adds an entry that may have been taken from the front of the list, at the place of its number. If that is the front,
   * the list stays sorted, but `detachUnsorted` does not tell any more that it arrived last.
   */
  reinsert(entry: E & Entry): void {
    const first = this._next;
    if (this.#unsorted || !after(first, entry)) {
      this.insert(entry);
      return;
    }
    entry._prev = this;
    entry._next = first;
    first._prev = entry;
    this._next = entry;
  }

  override shift(): E | undefined {
    if (this.#unsorted) this.#sort();
    return super.shift();
  }

  override detach(): Entry {
    if (this.#unsorted) this.#sort();
    return super.detach() as Entry;
  }

  /** Like `detach`, but the chain is in the order of arrival: for lists that sort their entries themselves. */
  detachUnsorted(): Entry {
    this.#unsorted = false;
    return super.detach() as Entry;
  }

  override forEach(visit: (entry: E) => void): void {
    if (this.#unsorted) this.#sort();
    super.forEach(visit);
  }

  /**
   * Calls a function for at most `count` entries that come after a mark, and moves the mark to the last of them. So a
   * long list is visited in steps, between which it may change: each entry that stays is visited once. The entries up to
   * the mark are passed over, at some ns each.
   *
   * @returns whether there may be more
   */
  visitAfter(mark: Mark, count: number, visit: (entry: E) => void): boolean {
    if (this.#unsorted) this.#sort();
    let entry = this._next;
    while (entry !== this && !after(entry, mark)) entry = entry._next;
    for (let left = count; entry !== this; entry = entry._next) {
      if (left-- === 0) return true;
      mark._seq = entry._seq;
      mark._era = entry._era;
      visit(entry as Links as E);
    }
    return false;
  }

  override *[Symbol.iterator](): Generator<E, void, undefined> {
    if (this.#unsorted) this.#sort();
    yield* super[Symbol.iterator]();
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
