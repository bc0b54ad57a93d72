import type { Clock, Deadlines } from './clock/clock.ts';
import { remoteOf } from './cpu.ts';
import type { Kcont } from './kcont.ts';
import type { Ration } from './ration.ts';
import type { RunQueue } from './runq.ts';
import { EXPIRED, INVOKING, PENDING, QUEUED, REMOTE } from './state.ts';
import { BLOCK, FAR, type Wheel } from './wheel.ts';

/** Brings timers that have expired from the wheel to the run queue, and tells ticks. */
export class Collector {
  /** Timers due by this absolute tick may be collected: it was read before the last poll phase. */
  collectable = 0;
  /** The last tick that was read or collected, from the wheel's base. */
  lastTick = 0;
  readonly #clock: Clock;
  readonly #wheel: Wheel<Kcont<unknown>>;
  readonly #runq: RunQueue<Kcont<unknown>>;
  readonly #ration: Ration<Kcont<unknown>>;
  readonly #expired: (kc: Kcont<unknown>) => void;
  readonly #expiredUnderFakes: (kc: Kcont<unknown>) => void;
  readonly #rebased: (ticks: number) => void;

  constructor(
    clock: Clock,
    wheel: Wheel<Kcont<unknown>>,
    runq: RunQueue<Kcont<unknown>>,
    ration: Ration<Kcont<unknown>>,
  ) {
    this.#clock = clock;
    this.#wheel = wheel;
    this.#runq = runq;
    this.#ration = ration;
    this.#expired = (kc) => this.#expire(kc);
    this.#expiredUnderFakes = (kc) => this.#expireUnderFakes(kc);
    this.#rebased = (ticks) => {
      runq.rebase(ticks, FAR);
      ration.rebase(ticks, clock._phase - wheel.base);
    };
  }

  /** The present absolute tick. */
  now(): number {
    return Math.floor(this.#clock.now + this.#clock._phase);
  }

  /** Timers due by now may be collected after the next poll phase. */
  note(): void {
    this.collectable = this.now();
  }

  /**
   * The tick at which a job becomes runnable. Read from the clock where it decides something: the
   * order among timers that run. Those that have been collected were due before, and those to come
   * will be due later. FAR, when a timer has been due for 24 days: later than all that are collected.
   */
  jobTick(): number {
    if (this.#wheel.count === 0) return this.lastTick;
    const tick = this.#ration.tick();
    return (this.lastTick = tick < FAR ? tick : this.catchUp(tick));
  }

  /** Moves the base as far as nothing is due, so that a tick is a small integer again if it can be. */
  catchUp(tick: number): number {
    const wheel = this.#wheel;
    const atTick = wheel.base + tick;
    const to = Math.min(atTick, wheel.nextTick() - 1);
    if (to - wheel.base >= BLOCK) this.collect(to);
    return Math.min(atTick - wheel.base, FAR);
  }

  /** Collects what may be collected. */
  collectDue(): void {
    if (this.collectable > this.#wheel.tick) this.collect(this.collectable);
  }

  /** Collects all timers that are due by an absolute tick. */
  collect(tick: number): void {
    const wheel = this.#wheel;
    const { base, deadlines } = wheel;
    wheel.advance(
      tick,
      deadlines === null ? this.#expired : this.#expiredUnderFakes,
      this.#rebased,
    );
    this.lastTick = tick - wheel.base;
    if (wheel.base !== base) this.#runq.rebase(0, this.lastTick);
  }

  #expire(kc: Kcont<unknown>): void {
    if ((kc._state & REMOTE) !== 0 && !remoteOf(kc).expire()) return;
    kc._state = (kc._state & ~PENDING) | EXPIRED | INVOKING | QUEUED;
    const wq = kc._wq;
    wq._load++;
    this.#runq.addTimer(wq._level, kc);
  }

  #expireUnderFakes(kc: Kcont<unknown>): void {
    const wheel = this.#wheel;
    const deadlines = wheel.deadlines as Deadlines;
    if (deadlines.alone && deadlines.has(kc)) {
      // Its deadline was reckoned from a time that had stood still.
      wheel.setDue(kc, this.collectable + 1 - wheel.base);
      wheel.refile(kc);
    } else {
      deadlines.drop(kc);
      this.#expire(kc);
    }
  }
}
