/*
 * The budget of a pass: after so many ms it yields to I/O.
 *
 *   functions   1 2 3 ... 15 16 . 18 . 20 . ... 24 . . 27 . . 30 ...      256 (32) 288 (32) ...
 *   looks       | | |     |  |    |    |        |      |      |           |        |
 *
 * A reading of the clock costs more than a small function. So it is read after each of the first
 * functions, for they may be slow, then after an eighth of those that ran, 32 at most: what runs when
 * the budget is spent is an eighth more of what has run.
 *
 * It counts in the rounds of microtasks of the same pass, too, and from the first function, also where
 * that is alone: it may bring about the next.
 */

import type { Clock } from '../time/clock.ts';

/** Continuations that are set aside for what counts as one that is entered. */
const ASIDES = 8;

/** What one pass after the other may spend. */
export class Budget {
  /** Functions that the pass has entered. */
  ran = 0;
  readonly #clock: Clock;
  readonly #ms: number;
  /** When it is spent; Infinity: it has not begun. */
  #untilMs = Infinity;
  /** How many functions more until the clock is looked at, times ASIDES. */
  #left = ASIDES;

  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
  }

  /** A pass begins, and has entered nothing yet. */
  reset(): void {
    this.ran = 0;
    this.#untilMs = Infinity;
    this.#left = ASIDES;
  }

  /** The first function of the pass is about to be entered, or has been. */
  begin(): void {
    if (this.#untilMs === Infinity) this.#untilMs = this.#clock.now + this.#ms;
  }

  /** Takes one function from what is left; one that throws counts too. */
  take(): void {
    this.#left -= ASIDES;
  }

  /** It was not entered, but set aside. */
  giveBack(): void {
    this.#left += ASIDES - 1;
  }

  /** Whether the clock has to be looked at. */
  get isDoubtful(): boolean {
    return this.#left <= 0;
  }

  /** Whether it is spent, by a look at the clock if one is due. */
  isSpent(): boolean {
    if (this.#left > 0) return false;
    if (this.#clock.now >= this.#untilMs) return true;
    this.#left = ASIDES * untilNextLook(this.ran);
    return false;
  }
}

/** How many functions may run until the clock is looked at again, when so many have. */
export function untilNextLook(ran: number): number {
  return Math.min(Math.max(ran >> 3, 1), 32);
}
