/*
 * Stride scheduling: several sides take turns, each as often as its shares say.
 *
 *   a, 2 shares   pass  0 ---> 1 ---> 2 ---> 3 ---> 4        what is served next is the side with the lowest pass;
 *   b, 1 share    pass  0 ----------> 2 ----------> 4        its pass grows by cost / shares
 *
 * Among equal passes, the side that has waited for longer goes first. `now` is the pass of the side that was served
 * last; no side that waits has a lower one. A side that joins begins at `now`, because it is given no credit for the
 * time in which it wanted nothing, or at its own pass if that is higher: what it has taken in advance still counts.
 * When no side waits, that is forgotten, because nobody has lost anything by it.
 *
 * Cost: a binary heap, O(log n) for n sides that wait, but for `firstOf` and `inOrder`; nothing for the others.
 *
 * Source: Waldspurger and Weihl, Stride Scheduling (1995); the rule for those that join is that of Goyal, Vin and
 * Cheng, Start-time Fair Queueing (1996).
 */

import { integerOf, type Kind } from './options-check.ts';

/**
 * The check of a number of shares.
 *
 * @internal
 */
export const SHARES: Kind = integerOf('an integer from 1 to 1000', 1, 1000);

/** One of those that take turns. */
export class Stride {
  readonly shares: number;
  /** What it has been served so far, divided by its shares. */
  _pass = 0;
  /** Its place among equal passes. */
  _turn = 0;
  /** Its index in the heap; -1: it does not wait. */
  _at = -1;

  constructor(shares: number) {
    this.shares = shares;
  }
}

/** Those that wait for their turn. */
export class StrideQueue<S extends Stride> {
  readonly #heap: S[] = [];
  #turns = 0;
  /** The pass of the side that was served last. */
  #now = 0;
  /** The highest pass so far. */
  #latest = 0;

  /** The next in turn; undefined: nobody waits. */
  get first(): S | undefined {
    return this.#heap[0];
  }

  /** Puts a side that does not wait so far behind the one that was served last that it would have to be served this. */
  place(side: S, cost: number): void {
    side._pass = Math.max(side._pass, this.#now + cost / side.shares);
  }

  /** Lets a side wait for its turn; does nothing if it does already. */
  join(side: S): void {
    if (side._at !== -1) return;
    this.place(side, 0);
    side._turn = this.#turns++;
    this.#latest = Math.max(this.#latest, side._pass);
    side._at = this.#heap.length;
    this.#heap.push(side);
    this.#up(side);
  }

  /** Called when the first is served. Its cost may become known later: see `charge`. */
  serve(side: S): void {
    this.#now = side._pass;
  }

  /** Adds what a side has been served, also if it does not wait any more. */
  charge(side: S, cost: number): void {
    side._pass += cost / side.shares;
    side._turn = this.#turns++;
    this.#latest = Math.max(this.#latest, side._pass);
    if (side._at !== -1) this.#down(side);
  }

  /** Removes a side, which wants nothing any more; does nothing if it does not wait. */
  leave(side: S): void {
    const heap = this.#heap;
    const at = side._at;
    if (at === -1) return;
    side._at = -1;
    const last = heap.pop() as S;
    if (last !== side) {
      last._at = at;
      heap[at] = last;
      this.#up(last);
      this.#down(last);
    } else if (heap.length === 0) this.#now = this.#latest;
  }

  /** The first in turn of those that wait and pass a test; undefined: none does. Looks at all: O(n). */
  firstOf(test: (side: S) => boolean): S | undefined {
    let first: S | undefined;
    for (const side of this.#heap) {
      if ((first === undefined || isBefore(side, first)) && test(side)) first = side;
    }
    return first;
  }

  /** Those that wait, in the order of their passes. */
  inOrder(): S[] {
    return this.#heap.toSorted((a, b) => a._pass - b._pass || a._turn - b._turn);
  }

  #up(side: S): void {
    const heap = this.#heap;
    let at = side._at;
    while (at > 0) {
      const above = heap[(at - 1) >> 1] as S;
      if (!isBefore(side, above)) break;
      heap[at] = above;
      const to = above._at;
      above._at = at;
      at = to;
    }
    heap[at] = side;
    side._at = at;
  }

  #down(side: S): void {
    const heap = this.#heap;
    let at = side._at;
    for (;;) {
      let to = 2 * at + 1;
      if (to >= heap.length) break;
      if (to + 1 < heap.length && isBefore(heap[to + 1] as S, heap[to] as S)) to++;
      const below = heap[to] as S;
      if (!isBefore(below, side)) break;
      heap[at] = below;
      below._at = at;
      at = to;
    }
    heap[at] = side;
    side._at = at;
  }
}

function isBefore(a: Stride, b: Stride): boolean {
  return a._pass === b._pass ? a._turn < b._turn : a._pass < b._pass;
}
