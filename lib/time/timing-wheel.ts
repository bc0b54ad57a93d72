/*
 * The timing wheel: exact, hierarchical, one slot list per position.
 *
 *   level 4   64 slots of 2^24 ticks   |        a block: 2^30 ticks, 12.4 days
 *   level 3   64 slots of 2^18 ticks   |
 *   level 2   64 slots of 2^12 ticks   |
 *   level 1   64 slots of 64 ticks     |   elapsed = 3 | 17 | 0 | 41 | 9   (five digits, base 64)
 *   level 0   64 slots of 1 tick       |                            ^ the hand of level 0
 *   overflow  what is due in a later block
 *
 * An entry lies at the level of the highest digit in which its due tick differs from the elapsed
 * one, in the slot that this digit names. So where an entry lies depends on (due, elapsed) alone:
 * two entries for one tick are in the same list at any time, in the order they were added, and no
 * entry is ever rounded to the width of a level. When the hand of a level comes to a slot, the
 * slot's entries go down to the level where they belong now; on level 0 they expire.
 *
 * Bitmaps name the occupied slots (a bit may outlive its last entry, and goes when it is looked
 * at), so the next slot is found by counting zeros and a jump costs by the slots met, not by the
 * ticks passed.
 *
 * A deadline that moves outward is only stored: `_due` changes, the list does not. The entry is
 * filed again when its old slot comes by. Hence the invariant: an entry lies at or before its due
 * tick. An entry that keeps its older sequence number is sorted in by its slot (see list.ts).
 *
 * Ticks are counted from `base`, the start of the present block, so `_due` stays a small integer
 * for ever; what is farther than such an integer reaches is kept aside in `_farTick`.
 *
 * Cost: O(1) to add and to take out; each entry goes down at most four levels in its life, plus
 * once for each of its delays in which it was moved outward.
 *
 * Source: Varghese and Lauck, Hashed and Hierarchical Timing Wheels (1987); NetBSD callout(9) for
 * the lazy move; Tokio's timer wheel for the levels by differing digits.
 */

import type { Deadlines } from './clock.ts';
import { Fifo, unlink, type Entry } from '../base/list.ts';

/** What the wheel files. */
export interface Timer extends Entry {
  /** Tick from the wheel's base; {@link FAR} if it is farther than that reaches. */
  _due: number;
  /** The absolute tick of a timer whose `_due` is FAR. */
  _farTick(): number;
  _setFarTick(tick: number): void;
}

const BITS = 6;
const SLOTS = 64;
const LEVELS = 5;

/** Ticks in a block: what five levels count. */
export const BLOCK: number = 2 ** (BITS * LEVELS);
/** The due tick of a timer that is more than 24 days away. */
export const FAR: number = 2 ** 31 - 1;

/** Level by the number of leading zeros of due XOR elapsed. */
const LEVEL_OF: Uint8Array = Uint8Array.from({ length: 33 }, (_, zeros) =>
  zeros === 32 ? 0 : Math.min(LEVELS - 1, Math.floor((31 - zeros) / BITS)),
);

/** Called for each timer that has expired, in the order of (due tick, sequence). */
export type Expired<T> = (timer: T) => void;

/** Called when ticks count from so many later. */
export type Rebased = (ticks: number) => void;

/** A wheel that stands at an absolute tick. */
export class Wheel<T extends Timer> {
  /** Absolute tick at which the present block begins. */
  base: number;
  /** Timers in the wheel. */
  count = 0;
  /** Told of timers that are taken out; null but under fake timers. */
  deadlines: Deadlines | null = null;
  /** Ticks worked off since the base. */
  #elapsed = 0;
  readonly #slots: Fifo<T>[] = Array.from({ length: LEVELS * SLOTS }, () => new Fifo<T>());
  /** Occupied slots: two words a level, low slots first. */
  readonly #occupied = new Int32Array(LEVELS * 2);
  readonly #overflow = new Fifo<T>();
  /** No timer of the overflow list is due before this absolute tick. */
  #overflowFrom = Infinity;

  constructor(tick: number) {
    this.base = tick;
  }

  /** The absolute tick up to which all is worked off. */
  get tick(): number {
    return this.base + this.#elapsed;
  }

  /** The absolute tick at which a timer is due. */
  dueTick(timer: T): number {
    return timer._due === FAR ? timer._farTick() : this.base + timer._due;
  }

  /** Sets the tick at which a timer is due, without filing it. `ticks` counts from the base. */
  setDue(timer: T, ticks: number): void {
    if (ticks < FAR) timer._due = ticks;
    else {
      timer._due = FAR;
      timer._setFarTick(this.base + ticks);
    }
  }

  /** Files a timer that is in no list, and has just got its sequence number. */
  add(timer: T): void {
    this.count++;
    this.#slotFor(timer).push(timer);
  }

  /** Files a timer that is in no list, and may have got its sequence number long ago. */
  reinsert(timer: T): void {
    this.count++;
    this.#slotFor(timer).append(timer);
  }

  /** Takes a timer out. */
  remove(timer: T): void {
    this.count--;
    unlink(timer);
    if (this.deadlines !== null) this.deadlines.drop(timer);
  }

  /** All timers, in no order. */
  *[Symbol.iterator](): Generator<T, void, undefined> {
    for (const slot of this.#slots) yield* slot;
    yield* this.#overflow;
  }

  /**
   * The next absolute tick at which there is something to do, never later than the first timer
   * is due. Infinity: nothing.
   */
  nextTick(): number {
    if (this.count === 0) return Infinity;
    const next = this.#nextOccupied();
    if (next < BLOCK) return this.base + next;
    return Math.max(this.base + BLOCK, this.#overflowFrom);
  }

  /** Works off all ticks up to an absolute one. */
  advance(tick: number, expired: Expired<T>, rebased: Rebased): void {
    while (tick - this.base >= BLOCK) {
      this.#workOff(BLOCK - 1, expired);
      rebased(this.#nextBlock(tick));
    }
    this.#workOff(tick - this.base, expired);
  }

  /** The list in which a timer belongs, by its due tick. */
  #slotFor(timer: T): Fifo<T> {
    const due = timer._due;
    if (due >= BLOCK) {
      const tick = this.dueTick(timer);
      if (tick < this.#overflowFrom) this.#overflowFrom = tick;
      return this.#overflow;
    }
    const level = LEVEL_OF[Math.clz32(due ^ this.#elapsed)] as number;
    const slot = (due >> (level * BITS)) & (SLOTS - 1);
    this.#occupied[level * 2 + (slot >> 5)]! |= 1 << (slot & 31);
    return this.#slots[level * SLOTS + slot] as Fifo<T>;
  }

  /**
   * The start of the first occupied slot, in ticks from the base; BLOCK if there is none.
   * A lower level comes first: all it holds shares a slot of the level above with the hand.
   */
  #nextOccupied(): number {
    for (let level = 0; level < LEVELS; level++) {
      const shift = level * BITS;
      const hand = (this.#elapsed >> shift) & (SLOTS - 1);
      // The slot under the hand has been worked off, but for level 0 where a slot from above
      // may have come down to it.
      for (let from = level === 0 ? hand : hand + 1; from < SLOTS;) {
        const word = level * 2 + (from >> 5);
        const bits = (this.#occupied[word] as number) & (-1 << (from & 31));
        if (bits === 0) {
          from = (from | 31) + 1;
          continue;
        }
        const slot = (from & 32) | (31 - Math.clz32(bits & -bits));
        if (!(this.#slots[level * SLOTS + slot] as Fifo<T>).empty) {
          const above = shift + BITS;
          return ((this.#elapsed >> above) << above) | (slot << shift);
        }
        this.#occupied[word]! &= ~(1 << (slot & 31));
      }
    }
    return BLOCK;
  }

  #workOff(to: number, expired: Expired<T>): void {
    if (this.count !== 0) {
      for (let at = this.#nextOccupied(); at <= to; at = this.#nextOccupied()) {
        const elapsed = this.#elapsed;
        this.#elapsed = at;
        const zeros = Math.clz32(at ^ elapsed);
        this.#cascade(at, LEVEL_OF[zeros] as number, expired);
      }
    }
    this.#elapsed = to;
  }

  /**
   * Works off what lies under the hand, which has just come to `at`, a change of the digit of
   * `level`: a slot of that level goes down, or one of level 0 expires. A due tick that has been
   * moved on since is filed again.
   */
  #cascade(at: number, level: number, expired: Expired<T>): void {
    const slot = (at >> (level * BITS)) & (SLOTS - 1);
    this.#occupied[level * 2 + (slot >> 5)]! &= ~(1 << (slot & 31));
    const list = this.#slots[level * SLOTS + slot] as Fifo<T>;
    for (let entry = list.detach(); entry !== list;) {
      const timer = entry as T;
      entry = entry._next;
      if (level > 0 || timer._due > at) this.#slotFor(timer).append(timer);
      else {
        this.count--;
        expired(timer);
      }
    }
  }

  /** Steps to the next block in which something is due, or to that of `tick`. Returns by how much. */
  #nextBlock(tick: number): number {
    const target = Math.min(tick, Math.max(this.#overflowFrom, this.base + BLOCK));
    const step = Math.floor((target - this.base) / BLOCK) * BLOCK;
    this.base += step;
    this.#elapsed = 0;
    this.#overflowFrom = Infinity;
    for (let entry = this.#overflow.detach(); entry !== this.#overflow;) {
      const timer = entry as T;
      entry = entry._next;
      if (timer._due === FAR) this.setDue(timer, timer._farTick() - this.base);
      else timer._due -= step;
      this.#slotFor(timer).append(timer);
    }
    return step;
  }
}
