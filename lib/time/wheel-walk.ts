/*
 * A walk over all timers of a wheel that can be interrupted, because 100,000 of them, which lie anywhere in memory,
 * take 20 ms and more. The wheel may change between two steps:
 *
 *   removed      a timer that leaves its list is noted: it may be put into a list that has been walked through
 *   cascaded     the timers of a list that is emptied, and has not been walked through, are noted
 *   added        a new timer may be found or not
 *
 * Those that were noted follow at the end. So each timer that is in the wheel from the beginning to the end is found,
 * and only one that has been moved is found again.
 *
 * The wheel holds its walks by weak references: a walk that is abandoned costs nothing after it has been collected.
 */

import type { Links } from '../base/list.ts';

/** When so many timers are noted, those that are in no list any more are dropped. */
const MANY = 1024;

/** A walk over all timers of a wheel. */
export class WheelWalk<T extends Links> {
  readonly #lists: readonly Links[];
  /** The index of the list that is walked through. */
  #at = 0;
  /** The next timer in it; the list itself: there is none. */
  #next: Links;
  /** The timers of lists that were emptied. */
  readonly #cascaded: T[] = [];
  readonly #removed = new Set<T>();
  #most = MANY;

  constructor(lists: readonly Links[]) {
    this.#lists = lists;
    this.#next = (lists[0] as Links)._next;
  }

  /** Returns another timer; undefined: there are no more. */
  next(): T | undefined {
    const lists = this.#lists;
    while (this.#at < lists.length) {
      const entry = this.#next;
      if (entry !== lists[this.#at]) {
        this.#next = entry._next;
        return entry as T;
      }
      this.#at++;
      this.#next = (lists[this.#at] ?? entry)._next;
    }
    const timer = this.#cascaded.pop();
    if (timer !== undefined) return timer;
    for (const removed of this.#removed) {
      this.#removed.delete(removed);
      return removed;
    }
    return undefined;
  }

  /** Ends the walk before it has found all. */
  end(): void {
    this.#at = this.#lists.length;
    this.#cascaded.length = 0;
    this.#removed.clear();
  }

  /** Called before a timer leaves its list. False: this need not be told any more. */
  leaves(timer: T): boolean {
    // When all lists have been walked through, each timer has been found or noted.
    if (this.#at === this.#lists.length) return false;
    if (this.#next === timer) this.#next = timer._next;
    if (this.#removed.size >= this.#most) this.#dropStopped();
    this.#removed.add(timer);
    return true;
  }

  /** Called before a list is emptied, whose timers go to other lists or expire. */
  empties(index: number): void {
    if (index < this.#at || index >= this.#lists.length) return;
    const list = this.#lists[index] as Links;
    const isCurrent = index === this.#at;
    for (let entry = isCurrent ? this.#next : list._next; entry !== list; entry = entry._next) {
      this.#cascaded.push(entry as T);
    }
    if (isCurrent) this.#next = list;
  }

  /** A program that starts and stops timers while somebody reads a list slowly must not collect them here. */
  #dropStopped(): void {
    for (const timer of this.#removed) if (timer._next === timer) this.#removed.delete(timer);
    this.#most = Math.max(MANY, this.#removed.size * 2);
  }
}
