/*
 * Makes timers that one callback sets with the same delay expire in the same pass.
 *
 * Node refreshes its loop's cached time at each setTimeout, and counts from it in whole ms. So timers
 * that are set within one ms run in one timers phase, and an immediate that one of them sets runs
 * after all of them. If a ms ends between two of the calls, they usually run in separate phases, and
 * the immediate runs between them. This is rare, so programs rely on the first order, often without
 * knowing it, and fail occasionally. Here the first order is guaranteed. A delay counts from the call,
 * and a tick may end between two calls:
 *
 *     tick   |        7        |        8        |
 *     calls             a  b  c    d  e
 *     due     from 8: a b c       from 9: d e          then a, b and c are moved to 9 as well
 *
 * So no timer is early, and timers set by a callback that ends within the next tick expire together,
 * at most a tick later than they would alone. If a callback takes longer, a new group begins.
 *
 * Cost: a push for each timer; a walk of the group if a tick ends within it.
 */

import { executionAsyncId } from 'node:async_hooks';
import type { Clock } from '../../time/clock.ts';
import type { Kcont } from '../../core/kcont.ts';
import { restartTimerFrom, scheduleFrom } from '../../core/schedule.ts';

/** Most timers in a group: as many as fit into a tick, at some hundred ns each. */
const MOST = 4096;

/** The timers that the current callback has set. */
export class TickGroup<A> {
  readonly #clock: Clock;
  readonly #group: Kcont<A>[] = [];
  /** The async id of the callback that sets them. */
  #callback = -1;
  /** The tick from which the group counts. */
  #tick = 0;
  #moved = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Starts a delay now. Returns 0 or an errno. */
  arm(kc: Kcont<A>, delayMs: number): number {
    const nowMs = this.#clock.now;
    // In virtual time, no tick ends between two calls.
    if (!this.#clock._turns) return scheduleFrom(kc, nowMs, delayMs);
    const tick = Math.ceil(nowMs + this.#clock._phase);
    const callback = executionAsyncId();
    const group = this.#group;
    if (callback !== this.#callback || group.length === MOST) this.#begin(callback, tick);
    else if (tick !== this.#tick) {
      if (tick > this.#tick + 1 || this.#moved) this.#begin(callback, tick);
      else {
        this.#tick = tick;
        this.#moved = true;
        for (const earlier of group) restartTimerFrom(earlier, nowMs);
      }
    }
    const errno = scheduleFrom(kc, nowMs, delayMs);
    if (errno === 0) group.push(kc);
    return errno;
  }

  /** Empties the group: a timer has expired, so no timer of the group may be moved any more. */
  end(): void {
    if (this.#group.length === 0) return;
    this.#group.length = 0;
    this.#callback = -1;
  }

  #begin(callback: number, tick: number): void {
    this.#group.length = 0;
    this.#callback = callback;
    this.#tick = tick;
    this.#moved = false;
  }
}
