/*
 * Measures what the functions of workqueues with shares use (see share-group.ts): the time from the call of a
 * function until it returns, for an asynchronous one until its first `await`.
 *
 *   function   enter ------- returns                    counted: enter until it returns
 *   async      enter --- await . . . ------ await       counted: enter until the first await
 *   yield()    resumed ---------- await . . .           counted: until the pass is continued in a microtask
 *
 * The part after another `await` runs in a microtask that nobody can tell from others, and is not counted; but the
 * part after `yield()` is, because the pass waits for it.
 *
 * A function counts as LEAST_MS at least. In virtual time none takes any time, so all count the same, and the order
 * depends on the calls alone. Setting aside a continuation counts as an eighth of that, as in budget.ts.
 *
 * Cost: two readings of the clock for each function, only on levels with shares.
 */

import type { Clock } from '../time/clock.ts';
import type { Dispatcher } from './dispatcher.ts';
import { enter } from './invoke.ts';
import type { Kcont } from './kcont.ts';
import type { Lane } from './share-group.ts';

/** The least that a function counts for, in ms: about what it costs to dispatch it. */
const LEAST_MS: number = 2 ** -11;
/** What setting aside a continuation counts for. */
const ASIDE_MS: number = LEAST_MS / 8;

/** The meter of one dispatcher. */
export class ShareMeter {
  readonly #clock: Clock;
  /** The lane whose function is running; null: none is. */
  #lane: Lane<Kcont<unknown>> | null = null;
  #sinceMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Enters a function. If it goes on in the pass itself, the measurement is ended by the pass. */
  enter(dispatcher: Dispatcher, kc: Kcont<unknown>, lane: Lane<Kcont<unknown>>): void {
    this.#lane = lane;
    this.#sinceMs = this.#clock.now;
    try {
      enter(dispatcher, kc);
    } finally {
      if (dispatcher.atTop === null) this.end();
    }
  }

  /** Ends a measurement, if there is one. */
  end(): void {
    const lane = this.#lane;
    if (lane === null) return;
    this.#lane = null;
    lane.charge(Math.max(this.#clock.now - this.#sinceMs, LEAST_MS));
  }

  /** Called when a continuation of a lane was set aside. */
  setAside(lane: Lane<Kcont<unknown>>): void {
    lane.charge(ASIDE_MS);
  }
}
