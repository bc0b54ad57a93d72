/*
 * The budget of a pass: the time in ms after which it yields to I/O.
 *
 *   functions   1 2 3 ... 15 16 . 18 . 20 . ... 24 . . 27 . . 30 ...      256 (32) 288 (32) ...
 *   looks       | | |     |  |    |    |        |      |      |           |        |
 *
 * Reading the clock costs more than a small function. So it is read after each of the first functions,
 * which may be slow, and later after every eighth of the number that ran, 32 at most: when the budget is
 * spent, at most an eighth more functions run.
 *
 * The microtask rounds of a pass count too, and so does its first function even if it is alone, because
 * it may make others runnable.
 */

import type { Clock } from '../time/clock.ts';

/** Setting aside so many continuations counts as entering one. */
const ASIDES = 8;

/** The budget of the current pass. */
export class Budget {
  /** How many more functions run until the clock is read. Reduced before each is entered. */
  left = 1;
  readonly #clock: Clock;
  readonly #ms: number;
  /** The time at which it is spent; Infinity: it has not begun. */
  #untilMs = Infinity;
  /** The number of functions that the pass will have entered when `left` is 0. */
  #ran = 1;
  /** Continuations that were set aside and do not count yet. */
  #asides = 0;

  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
  }

  /** Called when a pass begins. */
  reset(): void {
    this.left = 1;
    this.#untilMs = Infinity;
    this.#ran = 1;
    this.#asides = 0;
  }

  /** Called before or after the first function of the pass is entered. */
  begin(): void {
    if (this.#untilMs === Infinity) this.#untilMs = this.#clock.now + this.#ms;
  }

  /** Called if a continuation was set aside instead of entered. */
  giveBack(): void {
    if (++this.#asides === ASIDES) {
      // These count as one, but no function has run.
      this.#asides = 0;
      this.#ran--;
    } else this.left++;
  }

  /** Whether it is spent; reads the clock if that is due. */
  isSpent(): boolean {
    if (this.left > 0) return false;
    if (this.#clock.now >= this.#untilMs) return true;
    this.left = untilNextLook(this.#ran - this.left);
    this.#ran += this.left;
    return false;
  }
}

/** Returns how many functions may run until the clock is read again, after `ran` of them. */
export function untilNextLook(ran: number): number {
  return Math.min(Math.max(ran >> 3, 1), 32);
}
