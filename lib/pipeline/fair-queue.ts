/*
 * The admission queue of a stage whose keys take turns (`keyBy(key, { fair: true })`).
 *
 *   urgent    key a: ○○        the line of the lowest pass goes first (see base/stride.ts); each item costs 1 / shares
 *   others    key a: ○○○○○○○   a busy key takes no part
 *             key b: ○
 *             no key: ○○
 *
 * An item leaves this queue only to run: a stage admits at most `limit` items that have not run, and one for each key
 * that has a lock there. So it is decided as late as possible who goes next, and items of a busy key take no place
 * from those that could run.
 *
 * A key that gets its first item goes behind all that wait already, which is one round. It needs no memory of what it
 * was served before: when it is served, it is at the lowest pass, so when it comes back it would be one round behind
 * in any case. A line therefore exists while items of its key wait, and no longer.
 *
 * Invariant: the line of a key is in the order of the turns if and only if it has items and the key is not busy.
 *
 * Cost: O(log n) for n keys that wait, for each item.
 */

import { List, unlink } from '../base/list.ts';
import { Stride, StrideQueue } from '../base/stride.ts';
import type { Admission } from './admission-queue.ts';
import type { Item } from './item.ts';
import type { Key } from './keys.ts';

/** The items of one key that wait. Those without a key have a line in common. */
class Line extends Stride {
  readonly key: Key | null;
  readonly items: List<Item> = new List<Item>();

  constructor(key: Key | null) {
    super(key?.shares ?? 1);
    this.key = key;
  }
}

/** The lines of the urgent items, or of the others. */
class Turns {
  readonly #lines = new Map<Key | null, Line>();
  readonly #order = new StrideQueue<Line>();

  /** Whether none of them may go now. */
  get idle(): boolean {
    return this.#order.first === undefined;
  }

  add(item: Item, isBusy: boolean): void {
    const key = item.group;
    let line = this.#lines.get(key);
    if (line === undefined) {
      this.#lines.set(key, (line = new Line(key)));
      this.#order.place(line, 1);
      if (!isBusy) this.#order.join(line);
    }
    line.items.push(item);
  }

  remove(item: Item): void {
    unlink(item);
    this.#dropIfEmpty(this.#lines.get(item.group) as Line);
  }

  shift(): Item | undefined {
    const line = this.#order.first;
    if (line === undefined) return undefined;
    this.#order.serve(line);
    this.#order.charge(line, 1);
    const item = line.items.shift();
    this.#dropIfEmpty(line);
    return item;
  }

  /** Called when a key becomes busy. */
  pause(key: Key): void {
    const line = this.#lines.get(key);
    if (line !== undefined) this.#order.leave(line);
  }

  /** Called when a key is not busy any more. */
  resume(key: Key): void {
    const line = this.#lines.get(key);
    if (line !== undefined) this.#order.join(line);
  }

  #dropIfEmpty(line: Line): void {
    if (!line.items.empty) return;
    this.#lines.delete(line.key);
    this.#order.leave(line);
  }
}

/**
 * Holds the items that wait to run at a stage: urgent items first, then the keys in turn.
 *
 * @internal
 */
export class FairQueue implements Admission {
  readonly #urgent = new Turns();
  readonly #others = new Turns();
  /** The keys that have an item at the stage which has not run, under the lock of its key. */
  readonly #busy = new Set<Key>();
  size = 0;

  #turnsOf(item: Item): Turns {
    return item.urgent ? this.#urgent : this.#others;
  }

  #isBusy(key: Key | null): boolean {
    return key !== null && this.#busy.has(key);
  }

  add(item: Item): void {
    this.#turnsOf(item).add(item, this.#isBusy(item.group));
    this.size++;
  }

  remove(item: Item): void {
    this.#turnsOf(item).remove(item);
    this.size--;
  }

  mustWait(item: Item): boolean {
    if (!this.#urgent.idle || (!item.urgent && !this.#others.idle)) return true;
    // Otherwise no items of its key wait, by the invariant above.
    return this.#isBusy(item.group);
  }

  shift(urgentToo: boolean, othersToo: boolean): Item | undefined {
    const isUrgent = !this.#urgent.idle;
    if (!(isUrgent ? urgentToo : othersToo)) return undefined;
    const item = (isUrgent ? this.#urgent : this.#others).shift();
    if (item !== undefined) this.size--;
    return item;
  }

  began(key: Key): void {
    this.#busy.add(key);
    this.#urgent.pause(key);
    this.#others.pause(key);
  }

  ended(key: Key): void {
    this.#busy.delete(key);
    this.#urgent.resume(key);
    this.#others.resume(key);
  }
}
