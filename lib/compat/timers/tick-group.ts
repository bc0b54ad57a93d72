/*
 * Timers that one callback sets with the same delay come tickGroup.
 *
 * Node refreshes its loop's cached time at each setTimeout, and counts from it in whole ms. So timers
 * that are set within one ms come in one timers phase: the immediate that one of them sets comes
 * after all of them. Where a ms ends between two calls they mostly come apart, and the immediate
 * comes between them. A callback is seldom at work just then, so programs rely on the one, mostly
 * unawares, and fail now and then by the other. Here they can rely on it. A delay counts from the
 * call, and a tick may end between two calls:
 *
 *     tick   |        7        |        8        |
 *     calls             a  b  c    d  e
 *     due     from 8: a b c       from 9: d e          then a, b and c are moved to 9 as well
 *
 * So none is early, and those of a callback that ends within the next tick come tickGroup: at most
 * a tick later than each for itself. Where a callback takes longer, a new group begins.
 *
 * Cost: a push for each timer; a walk of the group where a tick ends within it.
 */

import { executionAsyncId } from 'node:async_hooks';
import type { Clock } from '../../time/clock.ts';
import type { Kcont } from '../../core/kcont.ts';
import { restartTimerFrom, scheduleFrom } from '../../core/schedule.ts';

/** Timers in a group, at most: what a tick has time for, at some hundred ns each. */
const MOST = 4096;

/** The timers that the present callback has set. */
export class TickGroup<A> {
  readonly #clock: Clock;
  readonly #group: Kcont<A>[] = [];
  /** The callback that sets them, as async_hooks call it. */
  #callback = -1;
  /** The tick from which the group counts. */
  #tick = 0;
  #moved = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Starts a delay now; an errno says why not. */
  arm(kc: Kcont<A>, delayMs: number): number {
    const nowMs = this.#clock.now;
    // Time that moves only when it is told to does not end a tick between two calls.
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

  /** Lets go of the group: time has passed, and none is moved any more. */
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
