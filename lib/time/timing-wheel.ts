/*
 * The timing wheel: exact and hierarchical, with one list per slot. A tick is an eighth of a millisecond.
 *
 *   level 4   64 slots of 2^24 ticks, 35 min   |     a block: 2^30 ticks, 37 hours
 *   level 3   64 slots of 2^18 ticks, 33 s     |
 *   level 2   64 slots of 2^12 ticks, 0.5 s    |
 *   level 1   64 slots of 64 ticks, 8 ms       |     elapsed, the tick to which the wheel has advanced:
 *   level 0   64 slots of 1 tick, 0.125 ms     |     3 | 17 | 0 | 41 | 9   its five digits, in base 64,
 *                                                                        are the hands of the levels
 *   overflow  timers that are due in a later block
 *
 * A deadline is rounded up to a tick, which makes a timer late by a sixteenth of a ms on average. Finer
 * ticks would make no difference, because the host sleeps for whole ms, and would shorten the block, at
 * whose end the overflow list is gone through.
 *
 * An entry is at the level of the highest digit in which its due tick differs from the elapsed tick, in
 * the slot of that digit. So its place depends only on (due, elapsed): two entries with the same due tick
 * are always in the same list, in the order in which they were added, and no entry is ever rounded to the
 * width of a level. When the hand of a level reaches a slot, the slot's entries cascade to the level where
 * they now belong; on level 0 they expire.
 *
 * Bitmaps mark the occupied slots (a bit may stay set after its last entry has left, and is cleared when
 * it is found), so the next slot is found by counting zeros, and the cost of a jump depends on the slots
 * met, not on the ticks passed.
 *
 * The host's timer is armed for the first due tick if there are few timers in the next occupied slot, so
 * that a timer on its own needs one wake-up. If there are many, it is armed for the start of the slot,
 * when they cascade.
 *
 * When a deadline is moved later, only `_due` is changed: the entry stays in its old slot, and is
 * reinserted when the hand reaches that slot. Hence the invariant: an entry is never in a slot that
 * starts after its due tick. A reinserted entry keeps its old sequence number, so it may be out of
 * order in its new list; the list sorts itself before an entry is taken (see ordered-list.ts).
 *
 * Ticks count from `base`, the start of the current block, so `_due` always stays a small integer; due
 * ticks of 2^31-1 (FAR) or more are kept separately, by `_setFarTick`. Moving such a deadline later is a
 * store as well.
 *
 * Cost: O(1) to add and to remove. After it was added or reinserted, an entry cascades at most four levels. It
 * is reinserted only when the hand reaches its slot and its deadline has been moved out of that slot: once,
 * however often it was moved meanwhile.
 *
 * Source: Varghese and Lauck, Hashed and Hierarchical Timing Wheels (1987); NetBSD callout(9) for
 * the lazy move; Tokio's timer wheel for the levels by differing digits.
 */

import type { Deadlines } from './clock.ts';
import { unlink } from '../base/list.ts';
import { OrderedList, type Entry } from '../base/ordered-list.ts';
import { WheelWalk } from './wheel-walk.ts';

/** An entry of the wheel. */
export interface Timer extends Entry {
  /** The due tick, relative to the wheel's base; {@link FAR} if it is beyond that range. */
  _due: number;
  /** The absolute tick of a timer whose `_due` is FAR. */
  _farTick(): number;
  _setFarTick(tick: number): void;
}

/** Ticks in a millisecond: a power of two, so that conversions between ticks and ms are exact. */
export const TICKS_PER_MS = 8;

const BITS = 6;
const SLOTS = 64;
const LEVELS = 5;

/** The most timers of a slot that are looked at to find the first due one. */
const FEW = 8;

/** Ticks in a block, which is the range of the five levels. */
export const BLOCK: number = 2 ** (BITS * LEVELS);
/** The due tick of a timer that is more than three days away. */
export const FAR: number = 2 ** 31 - 1;

/** Level by the number of leading zeros of due XOR elapsed. */
const LEVEL_OF: Uint8Array = Uint8Array.from({ length: 33 }, (_, zeros) =>
  zeros === 32 ? 0 : Math.min(LEVELS - 1, Math.floor((31 - zeros) / BITS)),
);

/**
 * Whether the timers of a slot expire as a batch instead of cascading: the slot is on level 1 or 2, and at
 * least its first 64 ticks are due.
 *
 * @param ticks - how many ticks after the first one of the slot are due
 */
function isBatch(level: number, ticks: number): boolean {
  return (level === 1 || level === 2) && ticks >= SLOTS - 1;
}

/** Called for each timer that has expired, in the order of (due tick, sequence). */
export type Expired<T> = (timer: T) => void;

/** The most ticks of a slot whose timers can expire in a batch: a slot of level 2. */
export const BATCH: number = 2 ** (BITS * 2);

/** Takes the timers of a slot that are due together, in any order. */
export interface Batch<T> {
  /** Begins with a slot whose first tick is this one, relative to the base. */
  begin(tick: number): void;
  /** Takes a timer that has expired, and is due in one of the next `BATCH` ticks. */
  take(timer: T): void;
  /** All timers of the slot that have expired have been taken. */
  end(): void;
}

/** Called when the base moves by this number of ticks. */
export type Rebased = (ticks: number) => void;

/** A timing wheel. */
export class Wheel<T extends Timer> {
  /** The absolute tick at which the current block begins. */
  base: number;
  /** The number of timers in the wheel. */
  count = 0;
  /** Notified of timers that are removed; null, except under fake timers. */
  deadlines: Deadlines | null = null;
  /** Those who walk over all timers. */
  #walks: WeakRef<WheelWalk<T>>[] = [];
  /** Whether somebody is to be told of timers that are removed. */
  #tells = false;
  /** The tick to which the wheel has advanced, relative to the base. */
  #elapsed = 0;
  readonly #slots: OrderedList<T>[] = Array.from(
    { length: LEVELS * SLOTS },
    () => new OrderedList<T>(),
  );
  /** Bitmaps of the occupied slots: two words per level, low slots first. */
  readonly #occupied = new Int32Array(LEVELS * 2);
  readonly #overflow = new OrderedList<T>();
  /** A lower bound of the due ticks in the overflow list, as an absolute tick. */
  #overflowFrom = Infinity;

  constructor(tick: number) {
    this.base = tick;
  }

  /** The absolute tick to which the wheel has advanced. */
  get tick(): number {
    return this.base + this.#elapsed;
  }

  /** The absolute tick at which a timer is due. */
  dueTick(timer: T): number {
    return timer._due === FAR ? timer._farTick() : this.base + timer._due;
  }

  /** Sets the due tick of a timer, relative to the base, without inserting the timer. */
  setDue(timer: T, ticks: number): void {
    if (ticks < FAR) timer._due = ticks;
    else {
      timer._due = FAR;
      timer._setFarTick(this.base + ticks);
    }
  }

  /** Inserts a timer that is not in a list and has just got its sequence number. */
  add(timer: T): void {
    this.count++;
    this.#slotFor(timer).push(timer);
  }

  /** Inserts a timer that is not in a list and may have an older sequence number. */
  reinsert(timer: T): void {
    this.count++;
    this.#slotFor(timer).insert(timer);
  }

  /** Removes a timer. */
  remove(timer: T): void {
    this.count--;
    if (this.#tells) this.#tellRemoval(timer);
    unlink(timer);
  }

  /** Notifies an observer of timers that are removed; null: no more. */
  tellDeadlines(deadlines: Deadlines | null): void {
    this.deadlines = deadlines;
    this.#tells = deadlines !== null || this.#walks.length > 0;
  }

  #tellRemoval(timer: T): void {
    this.deadlines?.drop(timer);
    this.#walks = this.#walks.filter((walk) => walk.deref()?.leaves(timer) === true);
    this.#tells = this.deadlines !== null || this.#walks.length > 0;
  }

  /** Begins a walk over all timers, between whose steps the wheel may change. */
  walk(): WheelWalk<T> {
    const walk = new WheelWalk<T>([...this.#slots, this.#overflow]);
    this.#walks.push(new WeakRef(walk));
    this.#tells = true;
    return walk;
  }

  /** All timers, in no particular order. A plain loop, because a report may copy 100,000 of them. */
  all(): T[] {
    const found: T[] = [];
    for (const list of [...this.#slots, this.#overflow]) {
      for (let entry = list._next; entry !== list; entry = entry._next) found.push(entry as T);
    }
    return found;
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.all()[Symbol.iterator]();
  }

  /**
   * Returns the next absolute tick at which there is something to do; Infinity: there are no timers. It is
   * not later than the first due tick, except above 2^53, where it may be the next tick that a number can
   * represent.
   */
  nextTick(): number {
    if (this.count === 0) return Infinity;
    let next = this.#nextOccupied();
    if (next < BLOCK) {
      const level = LEVEL_OF[Math.clz32(next ^ this.#elapsed)] as number;
      if (level > 0) next = this.#earliest(level, next);
      const tick = this.base + next;
      // Above 2^53, not every tick is a number: take the next one that is.
      return tick - this.base < next ? tick + TICKS_PER_MS : tick;
    }
    return Math.max(this.base + BLOCK, this.#overflowFrom);
  }

  /**
   * Advances the wheel to an absolute tick.
   *
   * @param batch - takes the expired timers of whole slots instead of `expired`; null: none does
   */
  advance(
    tick: number,
    expired: Expired<T>,
    rebased: Rebased,
    batch: Batch<T> | null = null,
  ): void {
    while (tick - this.base >= BLOCK) {
      this.#expireUntil(BLOCK - 1, expired, batch);
      rebased(this.#nextBlock(tick));
    }
    this.#expireUntil(tick - this.base, expired, batch);
  }

  /** Returns the list for a timer, by its due tick. */
  #slotFor(timer: T): OrderedList<T> {
    const due = timer._due;
    if (due >= BLOCK) {
      const tick = this.dueTick(timer);
      if (tick < this.#overflowFrom) this.#overflowFrom = tick;
      return this.#overflow;
    }
    const level = LEVEL_OF[Math.clz32(due ^ this.#elapsed)] as number;
    const slot = (due >> (level * BITS)) & (SLOTS - 1);
    this.#occupied[level * 2 + (slot >> 5)]! |= 1 << (slot & 31);
    return this.#slots[level * SLOTS + slot] as OrderedList<T>;
  }

  /**
   * Returns the start of the first occupied slot, relative to the base; BLOCK if there is none. Lower
   * levels come first: all their entries lie in the slot to which the hand of the level above points.
   */
  #nextOccupied(): number {
    for (let level = 0; level < LEVELS; level++) {
      const shift = level * BITS;
      const hand = (this.#elapsed >> shift) & (SLOTS - 1);
      // The slot under the hand is empty, except on level 0, where a slot from above may have
      // cascaded into it.
      for (let from = level === 0 ? hand : hand + 1; from < SLOTS;) {
        const word = level * 2 + (from >> 5);
        const bits = (this.#occupied[word] as number) & (-1 << (from & 31));
        if (bits === 0) {
          from = (from | 31) + 1;
          continue;
        }
        const slot = (from & 32) | (31 - Math.clz32(bits & -bits));
        if (!(this.#slots[level * SLOTS + slot] as OrderedList<T>).empty) {
          const above = shift + BITS;
          return ((this.#elapsed >> above) << above) | (slot << shift);
        }
        this.#occupied[word]! &= ~(1 << (slot & 31));
      }
    }
    return BLOCK;
  }

  /**
   * Returns the first due tick in an occupied slot that starts at tick `start`, or the end of the slot if that
   * is earlier; for a slot with many timers, its start.
   */
  #earliest(level: number, start: number): number {
    const list = this.#slots[level * SLOTS + ((start >> (level * BITS)) & (SLOTS - 1))];
    let earliest = start + (1 << (level * BITS));
    let left = FEW;
    for (let entry = (list as OrderedList<T>)._next; entry !== list; entry = entry._next) {
      if (left-- === 0) return start;
      earliest = Math.min(earliest, (entry as T)._due);
    }
    return earliest;
  }

  #expireUntil(to: number, expired: Expired<T>, batch: Batch<T> | null): void {
    if (this.count !== 0) {
      for (let at = this.#nextOccupied(); at <= to; at = this.#nextOccupied()) {
        const elapsed = this.#elapsed;
        this.#elapsed = at;
        const level = LEVEL_OF[Math.clz32(at ^ elapsed)] as number;
        if (batch !== null && isBatch(level, to - at)) this.#expireSlot(at, level, to, batch);
        else this.#cascade(at, level, expired);
      }
    }
    this.#elapsed = to;
  }

  /**
   * Handles the slot that the hand has reached at tick `at`, where the digit of `level` changes: a slot of
   * a higher level cascades, one of level 0 expires. Timers that have moved outward are reinserted.
   */
  #cascade(at: number, level: number, expired: Expired<T>): void {
    const list = this.#reached(at, level);
    // Sorting is left to the lists of level 0, which are the shortest.
    let entry = level > 0 ? list.detachUnsorted() : list.detach();
    while (entry !== list) {
      const timer = entry as T;
      entry = entry._next;
      if (level > 0 || timer._due > at) this.#slotFor(timer).insert(timer);
      else {
        this.count--;
        expired(timer);
      }
    }
  }

  /**
   * Handles a slot of level 1 or 2 that the hand has reached on its way to tick `to`: the timers that are due by
   * then are taken in a batch. The lower levels are empty, so nothing else in this slot is due.
   */
  #expireSlot(at: number, level: number, to: number, batch: Batch<T>): void {
    const list = this.#reached(at, level);
    const last = Math.min(to, at + (1 << (level * BITS)) - 1);
    batch.begin(at);
    for (let entry = list.detachUnsorted(); entry !== list;) {
      const timer = entry as T;
      entry = entry._next;
      if (timer._due > last) this.#slotFor(timer).insert(timer);
      else {
        this.count--;
        batch.take(timer);
      }
    }
    batch.end();
  }

  /** Returns the list of the slot of a level that begins at tick `at`, and marks the slot as empty. */
  #reached(at: number, level: number): OrderedList<T> {
    const slot = (at >> (level * BITS)) & (SLOTS - 1);
    this.#occupied[level * 2 + (slot >> 5)]! &= ~(1 << (slot & 31));
    const index = level * SLOTS + slot;
    for (const walk of this.#walks) walk.deref()?.empties(index);
    return this.#slots[index] as OrderedList<T>;
  }

  /**
   * Moves the base to the next block in which a timer is due, or to the block of `tick` if that is
   * earlier. Returns the number of ticks.
   */
  #nextBlock(tick: number): number {
    const target = Math.min(tick, Math.max(this.#overflowFrom, this.base + BLOCK));
    const step = Math.floor((target - this.base) / BLOCK) * BLOCK;
    this.base += step;
    this.#elapsed = 0;
    this.#overflowFrom = Infinity;
    for (const walk of this.#walks) walk.deref()?.empties(LEVELS * SLOTS);
    for (let entry = this.#overflow.detach(); entry !== this.#overflow;) {
      const timer = entry as T;
      entry = entry._next;
      if (timer._due === FAR) this.setDue(timer, timer._farTick() - this.base);
      else timer._due -= step;
      this.#slotFor(timer).insert(timer);
    }
    return step;
  }
}
