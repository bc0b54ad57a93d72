/*
 * Two priority queues with the same interface: highest priority first, then first come, first served.
 *
 *   RankList   a sorted array of ranks, the highest last, each with the OrderedList of one priority. Adding
 *              costs a binary search, and a splice for a new priority; the first entry is at the end.
 *   LevelList  integer priorities from -112 to 111 in a run queue like the kernel's, a bitmap and
 *              lists, all O(1). Other priorities go to a RankList.
 *
 * Entries are removed by `unlink`, which does not know the list, so empty ranks are removed when
 * `first` finds them.
 */

import { OrderedList, type Entry } from '../../base/ordered-list.ts';
import { PRIORITIES } from '../../base/priorities.ts';
import { RunQueue, type Runnable } from '../../core/run-queue.ts';

/** An entry of the lists. */
export interface Ranked extends Runnable {
  priority: number;
}

interface Rank<R extends Entry> {
  readonly priority: number;
  readonly entries: OrderedList<R>;
}

/** A priority queue for a small number of distinct priorities. */
export class RankList<R extends Ranked> {
  /** The ranks, lowest priority first. */
  readonly #ranks: Rank<R>[] = [];

  add(entry: R): void {
    const { priority } = entry;
    const ranks = this.#ranks;
    let low = 0;
    let high = ranks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((ranks[middle] as Rank<R>).priority < priority) low = middle + 1;
      else high = middle;
    }
    if (ranks[low]?.priority !== priority) {
      ranks.splice(low, 0, { priority, entries: new OrderedList<R>() });
    }
    (ranks[low] as Rank<R>).entries.insert(entry);
  }

  get first(): R | undefined {
    const ranks = this.#ranks;
    for (;;) {
      const rank = ranks.at(-1);
      if (rank === undefined) return undefined;
      const { first } = rank.entries;
      if (first !== undefined) return first;
      ranks.pop();
    }
  }
}

/** The priority of the lowest level of the run queue. */
const LOWEST: number = -PRIORITIES / 2;

/** A priority queue for many entries, with constant time for the usual priorities. */
export class LevelList<R extends Ranked> {
  readonly #near = new RunQueue<R>();
  readonly #far = new RankList<R>();

  add(entry: R): void {
    const { priority } = entry;
    if (!Number.isInteger(priority) || priority < LOWEST || priority >= LOWEST + PRIORITIES) {
      this.#far.add(entry);
      return;
    }
    const level = this.#near.level(priority - LOWEST);
    level.direct.insert(entry);
    this.#near.mark(level);
  }

  get first(): R | undefined {
    const near = this.#near.highest()?.first;
    const far = this.#far.first;
    if (near === undefined || far === undefined) return near ?? far;
    return far.priority > near.priority ? far : near;
  }
}
