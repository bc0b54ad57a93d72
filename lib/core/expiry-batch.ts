/*
 * Expires all timers of one slot of the wheel at once, and sorts them by bucket, a list for each tick:
 *
 *   slot       t3 t0 t7 t3' t0' ...                 in the order of arrival
 *   buckets    0: t0 t0'  3: t3 t3'  7: t7          each timer is visited once, and expires here
 *   run queue  ... t0 t0' t3 t3' t7                 the lists are joined: two links for each tick
 *
 * It is used when many timers are due at once, after a stall. They would otherwise cascade down the levels of
 * the wheel first, and miss the cache each time. A slot has its timers in the order in which they were
 * scheduled, which is often their order in memory, so this visit is cheap.
 *
 * Within a tick, timers are in the order of their sequence numbers unless a deadline was moved outward. Only a
 * list in which that has happened is sorted, not the whole slot.
 *
 * Each priority has lists of its own in the run queue. So the timers whose priority is that of the first are
 * sorted, and those of other priorities are put aside, and sorted afterwards.
 *
 * Cost: O(1) for each timer, and 4096 / 32 words of a bitmap for each slot and priority.
 */

import type { Kcont } from './kcont.ts';
import { OrderedList, after, type Entry } from '../base/ordered-list.ts';
import type { Level, RunQueue } from './run-queue.ts';
import { MOVES, expired } from './state.ts';
import { BATCH, type Batch } from '../time/timing-wheel.ts';

type Timer = Kcont<unknown>;

/** The first and the last timer of each tick. Empty between two batches, so all kernels share them. */
interface Buckets {
  readonly firsts: (Timer | null)[];
  readonly lasts: (Timer | null)[];
  /** Bitmaps of the ticks that have timers, and of those whose timers are not in order. */
  readonly used: Int32Array;
  readonly unsorted: Int32Array;
}

let shared: Buckets | undefined;

function sharedBuckets(): Buckets {
  return (shared ??= {
    firsts: new Array<Timer | null>(BATCH).fill(null),
    lasts: new Array<Timer | null>(BATCH).fill(null),
    used: new Int32Array(BATCH / 32),
    unsorted: new Int32Array(BATCH / 32),
  });
}

const sorter = new OrderedList<Timer>();

/** Sorts the timers of a tick, and adds them to a level. */
function addUnsorted(level: Level<Timer>, first: Timer, last: Timer): void {
  last._next = sorter;
  for (let entry: Entry = first; entry !== sorter;) {
    const kc = entry as Timer;
    entry = entry._next;
    sorter.insert(kc);
  }
  const least = sorter.first as Timer;
  const greatest = sorter._prev as Timer;
  sorter.detach();
  level.addTimers(least, greatest);
}

/** Expires the timers of one dispatcher. */
export class ExpiryBatch implements Batch<Timer> {
  readonly #runq: RunQueue<Timer>;
  readonly #buckets: Buckets = sharedBuckets();
  /** The level whose timers are in the buckets; null: they are empty. */
  #level: Level<Timer> | null = null;
  /** Other levels, with timers that have been put aside. */
  readonly #others: Level<Timer>[] = [];
  /** The tick of the first bucket. */
  #from = 0;

  constructor(runq: RunQueue<Timer>) {
    this.#runq = runq;
  }

  begin(tick: number): void {
    this.#from = tick;
  }

  take(kc: Timer): void {
    const state = kc._state;
    kc._state = expired(state);
    if ((state & MOVES) !== 0) this.#runq.moving.push(kc);
    const wq = kc._wq;
    wq._queued++;
    const level = wq._level;
    if (level === this.#level || this.#level === null) {
      this.#level = level;
      this.#sort(kc);
    } else {
      if (level.aside.empty) this.#others.push(level);
      level.aside.push(kc);
    }
  }

  end(): void {
    for (let level = this.#level; level !== null; level = this.#nextLevel()) this.#join(level);
  }

  #sort(kc: Timer): void {
    const { firsts, lasts, used, unsorted } = this.#buckets;
    const at = kc._due - this.#from;
    const last = lasts[at] as Timer | null;
    lasts[at] = kc;
    if (last === null) {
      firsts[at] = kc;
      used[at >> 5]! |= 1 << (at & 31);
    } else {
      last._next = kc;
      kc._prev = last;
      // Rarely: its deadline was moved outward.
      if (after(last, kc)) unsorted[at >> 5]! |= 1 << (at & 31);
    }
  }

  /** Moves the timers in the buckets into the run queue. */
  #join(level: Level<Timer>): void {
    const { firsts, lasts, used, unsorted } = this.#buckets;
    for (let word = 0; word < used.length; word++) {
      for (let bits = used[word] as number; bits !== 0; bits &= bits - 1) {
        const at = (word << 5) | (31 - Math.clz32(bits & -bits));
        const last = lasts[at] as Timer;
        if (((unsorted[word] as number) & (1 << (at & 31))) === 0) {
          level.addTimers(firsts[at] as Timer, last);
        } else addUnsorted(level, firsts[at] as Timer, last);
        firsts[at] = null;
        lasts[at] = null;
      }
      used[word] = 0;
      unsorted[word] = 0;
    }
    this.#runq.mark(level);
  }

  /** Puts the timers of the next level into the buckets. */
  #nextLevel(): Level<Timer> | null {
    const level = this.#others.pop() ?? null;
    this.#level = level;
    if (level === null) return null;
    const { aside } = level;
    for (let entry = aside.detachUnsorted(); entry !== aside;) {
      const kc = entry as Timer;
      entry = entry._next;
      this.#sort(kc);
    }
    return level;
  }
}
