/*
 * What waits, highest priority first, then first come: two lists of one face.
 *
 *   RankList   an array of ranks, the highest last, one OrderedList a priority. A new priority costs a
 *              search by halves and a splice; an old one, and taking the first, nothing of the kind.
 *   LevelList  whole priorities from -112 to 111 in the run queue of the kernel: a bitmap and lists,
 *              all O(1). Other numbers go to a RankList beside it.
 *
 * Entries leave by `unlink`, which knows no list. A rank that has become empty goes when it is met.
 */

import { OrderedList, type Entry } from '../../base/ordered-list.ts';
import { PRIORITIES } from '../../base/priorities.ts';
import { RunQueue, type Runnable } from '../../core/run-queue.ts';

/** What the lists hold. */
export interface Ranked extends Runnable {
  priority: number;
}

interface Rank<R extends Entry> {
  readonly priority: number;
  readonly entries: OrderedList<R>;
}

/** Any priorities; few at a time. */
export class RankList<R extends Ranked> {
  /** Lowest first. */
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
    (ranks[low] as Rank<R>).entries.append(entry);
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

/** Priorities of the levels of the run queue begin here. */
const LOWEST: number = -PRIORITIES / 2;

/** Any priorities; many entries. */
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
    level.direct.append(entry);
    this.#near.mark(level);
  }

  get first(): R | undefined {
    const near = this.#near.highest()?.first;
    const far = this.#far.first;
    if (near === undefined || far === undefined) return near ?? far;
    return far.priority > near.priority ? far : near;
  }
}
