/*
 * Makes timers that one callback sets with the same delay expire in the same pass.
 *
 * Node refreshes its loop's cached time at each setTimeout, and counts from it in whole ms. So timers
 * that are set within one ms run in one timers phase, and an immediate that one of them sets runs
 * after all of them. If a ms ends between two of the calls, they usually run in separate phases, and
 * the immediate runs between them. This is rare, so programs rely on the first order, often without
 * knowing it, and fail occasionally. Here the first order is guaranteed. A delay counts from the call,
 * rounded up to a tick of an eighth of a ms, and ticks may end between two calls:
 *
 *     tick       |   0   |   1   |   2   |   3   |   4   |
 *     calls         a  b    c         d
 *     count from 1: a b; 2: a b c        5: a b c d           after the first tick, 1, 2, 4 or 8 ticks
 *
 * So the timers of a group count from the same tick, which is moved onward for all of them, each time by as
 * much as the group has lasted. No timer is early, and timers set by a callback within a ms expire together,
 * at most twice as late after the first call as the last call was. If a callback takes longer, a new group
 * begins. No group counts from an earlier tick than the group before it, so equal delays end in the order of
 * the calls.
 *
 * Cost: a push for each timer, and at most five walks of the group.
 */

import { executionAsyncId } from 'node:async_hooks';
import type { Clock } from '../../time/clock.ts';
import type { Kcont } from '../../core/kcont.ts';
import { restartTimerFrom, scheduleFrom } from '../../core/schedule.ts';
import { TICKS_PER_MS } from '../../time/timing-wheel.ts';

/** Most timers in a group: as many as fit into a ms, at some hundred ns each. */
const MOST = 4096;

/** The timers that the current callback has set. */
export class TickGroup<A> {
  readonly #clock: Clock;
  readonly #group: Kcont<A>[] = [];
  /** The async id of the callback that sets them. */
  #callback = -1;
  /** The tick at whose beginning the group's first delay would count alone. */
  #firstTick = 0;
  /** The tick from which the group counts. */
  #tick = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Starts a delay now. Returns 0 or an errno. */
  arm(kc: Kcont<A>, delayMs: number): number {
    const nowMs = this.#clock.now;
    // In virtual time, no tick ends between two calls.
    if (!this.#clock._turns) return scheduleFrom(kc, nowMs, delayMs);
    const tick = Math.ceil((nowMs + this.#clock._phase) * TICKS_PER_MS);
    const callback = executionAsyncId();
    if (callback !== this.#callback || this.#group.length === MOST) this.#begin(callback, tick);
    else if (tick > this.#tick) {
      if (tick > this.#firstTick + TICKS_PER_MS) this.#begin(callback, tick);
      else this.#moveTo(tick);
    }
    const errno = scheduleFrom(kc, this.#fromMs, delayMs);
    if (errno === 0) this.#group.push(kc);
    return errno;
  }

  /** Empties the group: a timer has expired, so no timer of the group may be moved any more. */
  end(): void {
    if (this.#group.length === 0) return;
    this.#group.length = 0;
    this.#callback = -1;
  }

  get #fromMs(): number {
    return this.#tick / TICKS_PER_MS - this.#clock._phase;
  }

  #begin(callback: number, tick: number): void {
    this.#group.length = 0;
    this.#callback = callback;
    this.#firstTick = Math.max(tick, this.#tick);
    this.#tick = this.#firstTick;
  }

  /** Moves the group onward, by as many ticks as it has lasted, rounded up to a power of two. */
  #moveTo(tick: number): void {
    let ticks = 1;
    while (this.#firstTick + ticks < tick) ticks *= 2;
    this.#tick = this.#firstTick + ticks;
    for (const earlier of this.#group) restartTimerFrom(earlier, this.#fromMs);
  }
}
