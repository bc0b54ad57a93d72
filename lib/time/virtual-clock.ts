import { KcontError, invalid, refuseOptions, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Clock, Driven, Waker } from './clock.ts';
import { markNextUncaught, inNoContext, nextTurn } from './host-clock.ts';
import { nothing } from '../base/nothing.ts';

/** A waker that does nothing: a kernel on a virtual clock runs only when the clock is moved. */
const noWaker: Waker = { request: nothing, arm: nothing, keepAlive: nothing, takeBack: nothing };

/**
 * A clock for tests that moves only when told to.
 *
 * @remarks
 * A kernel on this clock runs its continuations only inside {@link VirtualClock.tick} and
 * {@link VirtualClock.advance}. At each time at which something is due, the timers that are due expire,
 * and then continuations are dispatched until none can be entered. The order depends only on the calls
 * that were made. Several kernels can share a clock; at each time they run in the order in which they
 * were created. Functions run without an async context, whichever code moves the clock, unless they have
 * the option `context`. Time also stops between whole ms: deadlines are rounded up to an eighth of a ms.
 *
 * @example
 * ```ts
 * const clock = new VirtualClock();
 * const { wq } = new Kernel({ clock });
 * const ran: number[] = [];
 * new Kcont(wq.softclock, null, () => void ran.push(clock.now), null).schedule(50);
 * clock.tick(49); // ran: []
 * clock.tick(1);  // ran: [50]
 * ```
 *
 * @public
 */
export class VirtualClock implements Clock {
  static readonly #line: (clock: VirtualClock) => string =
    /* @__PURE__ */ defineInspect<VirtualClock>(
      this,
      ({ now }) => `VirtualClock { at ${now} ms }`,
      ({ now }) => ({ now }),
    );
  /** @internal */
  readonly _phase = 0;
  /** @internal */
  readonly _samples = false;
  /** @internal */
  readonly _turns = false;
  readonly #driven: Driven[] = [];
  readonly #runAll = (): void => {
    for (const driven of this.#driven) driven.runNow();
  };
  #nowMs = 0;
  #running = false;
  /** Whether kernels are being run by `advance`, not by `tick`: promises settle before deferred work runs. */
  #settling = false;
  #advancing = 0;
  /** Fulfilled when the last `advance` has ended; undefined: none is in progress. */
  #advanced: Promise<void> | undefined = undefined;
  readonly #raised: unknown[] = [];

  /**
   * Creates a clock at 0 ms.
   *
   * @throws KcontError EINVAL if called with an argument
   */
  constructor();
  constructor(given?: unknown) {
    refuseOptions(given, 'VirtualClock', new.target);
  }

  /** Virtual milliseconds since the clock was created. */
  get now(): number {
    return this.#nowMs;
  }

  /**
   * Moves time forward, and runs everything that becomes due.
   *
   * @param ms - how far, 0 or more; 0 runs what is runnable at this instant. Time stops at 2^53-1 ms
   * @throws KcontError EINVAL if the distance is negative or not finite; EDEADLK from within a
   * continuation. Also throws the error of a function that has no `onError`: time then stays at the time
   * of that function, and the next call continues from there
   */
  tick(ms: number): void {
    const end = this.#end(ms, VirtualClock.prototype.tick);
    this.#run();
    for (let next = this.#nextDueMs(); next <= end; next = this.#nextDueMs()) {
      this.#nowMs = Math.max(this.#nowMs, next);
      this.#run();
    }
    this.#nowMs = end;
  }

  /**
   * Moves time forward as {@link VirtualClock.tick} does, and lets promises settle between the steps.
   *
   * @remarks
   * A call during another `advance` starts when that has ended.
   *
   * @param ms - how far, 0 or more
   * @returns a promise that is fulfilled when that time is reached and nothing is left to enter; rejected
   * with what `tick` would throw
   */
  async advance(ms: number): Promise<void> {
    this.#end(ms, VirtualClock.prototype.advance);
    const before = this.#advanced;
    this.#advancing++;
    const done =
      before === undefined ? this.#advanceBy(ms) : before.then(() => this.#advanceBy(ms));
    this.#advanced = done.catch(nothing);
    try {
      await done;
    } finally {
      if (--this.#advancing === 0) this.#advanced = undefined;
    }
  }

  async #advanceBy(ms: number): Promise<void> {
    const end = this.#end(ms, VirtualClock.prototype.advance);
    await this.#settle();
    for (let next = this.#nextDueMs(); next <= end; next = this.#nextDueMs()) {
      this.#nowMs = Math.max(this.#nowMs, next);
      await this.#settle();
    }
    this.#nowMs = Math.max(this.#nowMs, end);
  }

  /** @internal */
  _drive(driven: Driven): Waker {
    this.#driven.push(driven);
    return noWaker;
  }

  /** @internal */
  _drain(): boolean {
    return !this.#settling;
  }

  /** @internal */
  _raise(error: unknown): void {
    if (this.#advancing > 0) this.#raised.push(error);
    else
      queueMicrotask(() => {
        throw error;
      });
  }

  /** @internal */
  _escaping(kc: Kcont<unknown>): void {
    markNextUncaught(kc);
  }

  /** @internal */
  toString(): string {
    return VirtualClock.#line(this);
  }

  #end(ms: number, caller: Caller): number {
    if (typeof ms !== 'number' || !(ms >= 0 && ms < Infinity)) {
      throw traceFrom(caller, invalid('ms', 'a finite number >= 0', ms));
    }
    if (this.#running) {
      const what = 'virtual time cannot be moved from within a continuation';
      throw traceFrom(caller, new KcontError('EDEADLK', what));
    }
    return Math.min(this.#nowMs + ms, Number.MAX_SAFE_INTEGER);
  }

  /** The earliest due time of all kernels. */
  #nextDueMs(): number {
    let next = Infinity;
    for (const driven of this.#driven) next = Math.min(next, driven.nextDueMs());
    return next;
  }

  /** Runs all kernels until nothing can be entered at this instant. */
  #run(): void {
    do this.#round();
    while (this.#driven.some((driven) => driven.runnable));
  }

  #round(): void {
    this.#running = true;
    try {
      inNoContext(this.#runAll);
    } finally {
      this.#running = false;
    }
  }

  /** Runs all kernels and lets promises settle, until nothing is runnable. */
  async #settle(): Promise<void> {
    do {
      this.#settling = true;
      try {
        this.#round();
      } finally {
        this.#settling = false;
      }
      await nextTurn();
      if (this.#raised.length > 0) throw this.#raised.shift();
    } while (this.#driven.some((driven) => driven.runnable));
  }
}
