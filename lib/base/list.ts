/*
 * Intrusive circular lists.
 *
 *        +--------------------------------------------------+
 *        v                                                  |
 *      List (head) <-> entry <-> entry <-> entry <----------+
 *
 * An entry is in at most one list and contains its links, so adding and removing cost a few stores and
 * no allocation, and removing does not need the list. An entry that is not in a list points to itself.
 */

/** An entry of a list. */
export interface Links {
  _next: Links;
  _prev: Links;
}

/** Removes an entry from its list; does nothing if it is not in a list. */
export function unlink(entry: Links): void {
  const next = entry._next;
  const prev = entry._prev;
  prev._next = next;
  next._prev = prev;
  entry._next = entry;
  entry._prev = entry;
}

/** Puts an entry that is not in a list at the place of another one, which it removes from its list. */
export function replace(old: Links, entry: Links): void {
  const prev = old._prev;
  entry._prev = prev;
  entry._next = old;
  prev._next = entry;
  old._prev = entry;
  unlink(old);
}

/** A queue: first in, first out. The object is the head of its ring. */
export class List<E extends Links> implements Links {
  _next: Links = this;
  _prev: Links = this;

  get empty(): boolean {
    return this._next === this;
  }

  /** The first entry; undefined if the list is empty. */
  get first(): E | undefined {
    return this._next === this ? undefined : (this._next as E);
  }

  /** Adds an entry that is not in a list to the end. */
  push(entry: E): void {
    const tail = this._prev;
    entry._prev = tail;
    entry._next = this;
    tail._next = entry;
    this._prev = entry;
  }

  /** Adds entries to the end that are not in a list, and are linked to each other from first to last. */
  append(first: E, last: E): void {
    const tail = this._prev;
    first._prev = tail;
    last._next = this;
    tail._next = first;
    this._prev = last;
  }

  /** Removes and returns the first entry. */
  shift(): E | undefined {
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
  detach(): Links {
    const first = this._next;
    this._next = this;
    this._prev = this;
    return first;
  }

  /** Calls a function for each entry in order; it must not change the list. Faster than the iterator. */
  forEach(visit: (entry: E) => void): void {
    for (let entry = this._next; entry !== this; entry = entry._next) visit(entry as E);
  }

  /** The entries in order. The current entry may be removed during the iteration. */
  *[Symbol.iterator](): Generator<E, void, undefined> {
    for (let entry = this._next; entry !== this;) {
      const next = entry._next;
      yield entry as E;
      entry = next;
    }
  }
}

/**
 * Removes and returns the first entry of a list that is in order. Its `_next` no longer refers to another
 * entry, which would keep that one in memory; its `_prev` refers to the list, which saves a store: before
 * the entry can be unlinked again, it has to be put into a list, or its `_prev` set.
 */
export function takeFirst<E extends Links>(list: List<E>): E | undefined {
  const entry = list._next;
  if (entry === list) return undefined;
  const next = entry._next;
  list._next = next;
  next._prev = list;
  entry._next = entry;
  return entry as E;
}

/** Moves all entries of one list to another, which must be empty. */
export function moveAll<E extends Links>(from: List<E>, to: List<E>): void {
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
