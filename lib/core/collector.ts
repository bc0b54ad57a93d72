/*
 * What is due goes from the wheel to the run queue; and at which ticks jobs become runnable.
 *
 *      wheel --- advance to a tick that was read before the poll phase ---> run queue
 *                                                                              ^
 *      jobs -------- with the tick of the call, for their place ---------------+
 *
 * Ticks count from the base of the wheel, so that they stay small integers; when it moves, so does
 * all that is queued. The base is 12 days old at most where nothing is due: a timer that is scheduled
 * after months without one finds it as old as that, and the next plan moves it.
 */

import type { Clock, Deadlines } from '../time/clock.ts';
import { remoteOf } from './cpu-link.ts';
import type { Kcont } from './kcont.ts';
import { ClockSampler } from '../time/clock-sampling.ts';
import { RunQueue } from './run-queue.ts';
import { REMOTE, expired } from './state.ts';
import { BLOCK, FAR, Wheel } from '../time/timing-wheel.ts';

/** Collects the timers of one dispatcher. */
export class Collector {
  readonly wheel: Wheel<Kcont<unknown>>;
  readonly runq: RunQueue<Kcont<unknown>> = new RunQueue<Kcont<unknown>>();
  readonly sampler: ClockSampler<Kcont<unknown>>;
  /** Timers due by this absolute tick may be collected: it was read before the last poll phase. */
  collectable = 0;
  readonly #clock: Clock;
  readonly #expired: (kc: Kcont<unknown>) => void;
  readonly #expiredUnderFakes: (kc: Kcont<unknown>) => void;
  readonly #rebased: (ticks: number) => void;
  /** The last tick that was read or collected, from the wheel's base. */
  #jobTick = 0;

  constructor(clock: Clock, restart: (kc: Kcont<unknown>, nowMs: number) => void) {
    this.#clock = clock;
    this.wheel = new Wheel(this.tick());
    this.sampler = new ClockSampler(clock, restart);
    this.sampler.offset = clock._phase - this.wheel.base;
    this.#expired = (kc) => this.#expire(kc);
    this.#expiredUnderFakes = (kc) => this.#expireUnderFakes(kc);
    this.#rebased = (ticks) => {
      this.runq.rebase(ticks, FAR);
      this.sampler.rebase(ticks, this.#clock._phase - this.wheel.base);
    };
  }

  /** The present absolute tick. */
  tick(): number {
    return Math.floor(this.#clock.now + this.#clock._phase);
  }

  /**
   * The tick at which a job becomes runnable. Read from the clock where it decides something: the
   * order among timers that run. Those that have been collected were due before, and those to come
   * will be due later. FAR, when a timer has been due for 24 days: later than all that are collected.
   */
  jobTick(): number {
    if (this.wheel.count === 0) return this.#jobTick;
    const tick = this.sampler.tick();
    return (this.#jobTick = tick < FAR ? tick : this.catchUp(tick));
  }

  /**
   * Moves the base as far as nothing is due, so that a tick, which counts from it, is a small integer
   * again if it can be. Returns that.
   */
  catchUp(tick: number): number {
    const atTick = this.wheel.base + tick;
    const to = Math.min(atTick, this.wheel.nextTick() - 1);
    if (to - this.wheel.base >= BLOCK) this.collect(to);
    return Math.min(atTick - this.wheel.base, FAR);
  }

  /** What waited aside is runnable again: the base may have moved meanwhile. */
  returned(kc: Kcont<unknown>): void {
    if (kc._due > this.#jobTick) kc._due = this.#jobTick;
  }

  /** Collects what is due by an absolute tick. */
  collect(tick: number): void {
    const { base, deadlines } = this.wheel;
    const expire = deadlines === null ? this.#expired : this.#expiredUnderFakes;
    this.wheel.advance(tick, expire, this.#rebased);
    this.#jobTick = tick - this.wheel.base;
    if (this.wheel.base !== base) this.runq.rebase(0, this.#jobTick);
  }

  /** Fakes are told of each deadline that is still to come. True: some have passed, for a pass. */
  tellDeadlines(deadlines: Deadlines): boolean {
    const { wheel } = this;
    const tick = this.tick();
    let passed = false;
    for (const kc of wheel) {
      if (wheel.dueTick(kc) > tick) deadlines.set(kc);
      else passed = true;
    }
    if (passed) this.collectable = tick;
    return passed;
  }

  #expire(kc: Kcont<unknown>): void {
    if ((kc._state & REMOTE) !== 0 && !remoteOf(kc).expire()) return;
    kc._state = expired(kc._state);
    const wq = kc._wq;
    wq._load++;
    this.runq.addTimer(wq._level, kc);
  }

  #expireUnderFakes(kc: Kcont<unknown>): void {
    const { wheel } = this;
    const deadlines = wheel.deadlines as Deadlines;
    if (deadlines.alone && deadlines.has(kc)) {
      // Its deadline was reckoned from a time that had stood still.
      wheel.setDue(kc, this.collectable + 1 - wheel.base);
      wheel.reinsert(kc);
    } else {
      deadlines.drop(kc);
      this.#expire(kc);
    }
  }
}
