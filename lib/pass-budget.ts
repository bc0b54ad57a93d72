/*
 * The time budget of a pass, and of its rounds of microtasks.
 *
 *   functions   r r r r r r r r . r . r . r . . r . . r . . .  …  r  (32 dots)
 *               |<- the first ->|   then after an eighth of those that ran
 *
 * A pass yields to I/O when its budget is spent. The clock is read (`r`) after each of the first eight
 * functions, which may be slow, and then after an eighth of those that ran, 32 at most: about 60
 * readings in a burst of 1,000. So a pass that has spent its budget runs an eighth more, at most.
 *
 * What is taken from the run queue and set aside (for a lock, say) counts as an eighth of a function.
 */

import type { Clock } from './clock/clock.ts';

/** Continuations that are set aside for what counts as one that is entered. */
const ASIDES = 8;

/** How much of a pass is left. */
export class PassBudget {
  readonly #clock: Clock;
  readonly #budgetMs: number;
  /** When it is spent; Infinity: it has not begun. */
  #untilMs = Infinity;
  /** Functions that were entered. */
  #ran = 0;
  /** How many more until the clock is looked at, times ASIDES. */
  #left = ASIDES;

  constructor(clock: Clock, budgetMs: number) {
    this.#clock = clock;
    this.#budgetMs = budgetMs;
  }

  /** A pass begins. */
  reset(): void {
    this.#untilMs = Infinity;
    this.#ran = 0;
    this.#left = ASIDES;
  }

  /** The first function of the pass is about to be entered. */
  start(): void {
    if (this.#untilMs === Infinity) this.#untilMs = this.#clock.now + this.#budgetMs;
  }

  /** A function is about to be entered. */
  enter(): void {
    this.#ran++;
    this.#left -= ASIDES;
  }

  /** A continuation has been set aside. */
  aside(): void {
    this.#left--;
  }

  /** Whether the clock has to be looked at now. */
  get isDue(): boolean {
    return this.#left <= 0;
  }

  /** Whether it is spent, by a look at the clock if one is due. */
  isSpent(): boolean {
    if (this.#left > 0) return false;
    if (this.#clock.now >= this.#untilMs) return true;
    this.#left = ASIDES * untilNextLook(this.#ran);
    return false;
  }
}

/** How many functions may run until the clock is looked at again. */
export function untilNextLook(ran: number): number {
  return Math.min(Math.max(ran >> 3, 1), 32);
}
