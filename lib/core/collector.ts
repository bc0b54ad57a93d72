/*
 * Moves due timers from the wheel to the run queue, and determines the ticks at which jobs become
 * runnable.
 *
 *      wheel --- advance to a tick that was read before the poll phase ---> run queue
 *                                                                              ^
 *      jobs -------- with the tick of the call, for their place ---------------+
 *
 * Ticks count from the base of the wheel, so that they stay small integers; when the base moves, all
 * queued entries are adjusted. The end of each pass moves a base that is more than 37 hours old, as far as
 * no timer is due. A timer that is scheduled after days without passes finds the base that old, until
 * the next pass ends.
 */

import type { Clock, Deadlines } from '../time/clock.ts';
import { remoteOf } from './cpu-link.ts';
import type { Kcont } from './kcont.ts';
import { ExpiryBatch } from './expiry-batch.ts';
import { timersExpired } from './inheritance.ts';
import { ClockSampler } from '../time/clock-sampling.ts';
import type { Observer } from './observer.ts';
import { RunQueue } from './run-queue.ts';
import { MOVES, REMOTE, expired } from './state.ts';
import { BLOCK, FAR, TICKS_PER_MS, Wheel } from '../time/timing-wheel.ts';

/** Collects the timers of one dispatcher. */
export class Collector {
  readonly wheel: Wheel<Kcont<unknown>>;
  readonly runq: RunQueue<Kcont<unknown>> = new RunQueue<Kcont<unknown>>();
  readonly sampler: ClockSampler<Kcont<unknown>>;
  /** Timers due by this absolute tick, which was read before the last poll phase, may be collected. */
  collectable = 0;
  /** That of the dispatcher. It tells since when a job has been runnable, so the clock is read for each. */
  observer: Observer | null = null;
  /**
   * Whether timers may expire in batches: there are no other CPUs, whose state decides about some of them, and
   * no observer, which is told of each.
   */
  batches = true;
  readonly #clock: Clock;
  readonly #batch: ExpiryBatch = new ExpiryBatch(this.runq);
  readonly #expired: (kc: Kcont<unknown>) => void;
  readonly #expiredUnderFakes: (kc: Kcont<unknown>) => void;
  readonly #rebased: (ticks: number) => void;
  /** The last tick that was read or collected, relative to the wheel's base. */
  #jobTick = 0;

  constructor(clock: Clock, restart: (kc: Kcont<unknown>, nowMs: number) => void) {
    this.#clock = clock;
    this.wheel = new Wheel(this.tick());
    this.sampler = new ClockSampler(clock, restart);
    this.sampler.offset = this.#offset();
    this.#expired = (kc) => this.#expire(kc);
    this.#expiredUnderFakes = (kc) => this.#expireUnderFakes(kc);
    this.#rebased = (ticks) => {
      this.runq.rebase(ticks, FAR);
      this.sampler.rebase(ticks, this.#offset());
    };
  }

  /** Returns the current absolute tick. */
  tick(): number {
    return Math.floor((this.#clock.now + this.#clock._phase) * TICKS_PER_MS);
  }

  /** The time on the clock at which an absolute tick begins. */
  msOf(tick: number): number {
    return tick / TICKS_PER_MS - this.#clock._phase;
  }

  #offset(): number {
    return this.#clock._phase * TICKS_PER_MS - this.wheel.base;
  }

  /**
   * Returns the tick at which a job becomes runnable. The clock is read only if the tick can matter, which
   * is for the order among PENDING timers: without them the last tick will do, because collected timers
   * were due before and new ones will be due later. FAR, if a timer has been due for three days: later than
   * all collected timers.
   */
  jobTick(): number {
    if (this.wheel.count === 0 && this.observer === null) return this.#jobTick;
    const tick = this.sampler.tick();
    return (this.#jobTick = tick < FAR ? tick : this.catchUp(tick));
  }

  /**
   * Moves the base as far as no timer is due, so that a tick relative to it is a small integer again, if
   * possible. Returns the new relative tick.
   */
  catchUp(tick: number): number {
    const atTick = this.wheel.base + tick;
    const to = Math.min(atTick, this.wheel.nextTick() - 1);
    if (to - this.wheel.base >= BLOCK) this.collect(to);
    return Math.min(atTick - this.wheel.base, FAR);
  }

  /** Called when a continuation that was set aside is runnable again; the base may have moved meanwhile. */
  returned(kc: Kcont<unknown>): void {
    if (kc._due > this.#jobTick) kc._due = this.#jobTick;
  }

  /** Collects the timers that are due by an absolute tick. */
  collect(tick: number): void {
    const { base, deadlines } = this.wheel;
    if (deadlines !== null) this.wheel.advance(tick, this.#expiredUnderFakes, this.#rebased);
    else this.wheel.advance(tick, this.#expired, this.#rebased, this.batches ? this.#batch : null);
    this.#jobTick = tick - this.wheel.base;
    if (this.wheel.base !== base) this.runq.rebase(0, this.#jobTick);
    if (this.runq.moving.length > 0) timersExpired(this.runq.moving);
  }

  /** Reports each future deadline to fakes. True: some deadlines have passed, so a pass is needed. */
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
    const state = kc._state;
    kc._state = expired(state);
    const wq = kc._wq;
    wq._queued++;
    this.runq.addTimer(wq._level, kc);
    if ((state & MOVES) !== 0) this.runq.moving.push(kc);
    if (this.observer !== null) this.observer.expired(kc);
  }

  #expireUnderFakes(kc: Kcont<unknown>): void {
    const { wheel } = this;
    const deadlines = wheel.deadlines as Deadlines;
    if (deadlines.alone && deadlines.has(kc)) {
      // Its deadline was computed while time stood still; it has not passed yet.
      wheel.setDue(kc, this.collectable - wheel.base + 1);
      wheel.reinsert(kc);
    } else {
      deadlines.drop(kc);
      this.#expire(kc);
    }
  }
}
