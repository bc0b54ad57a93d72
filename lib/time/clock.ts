import type { Kcont } from '../core/kcont.ts';

/**
 * A source of monotonic time that also wakes a kernel.
 *
 * @remarks
 * There are two clocks: that of the host, which is the default of a kernel, and {@link VirtualClock} for
 * tests. Other clocks are not supported.
 *
 * @public
 */
export interface Clock {
  /** The monotonic time in ms, with fractions if the host has them. */
  readonly now: number;
  /**
   * Makes the clock wake a dispatcher.
   * @internal
   */
  _drive(driven: Driven): Waker;
  /**
   * A tick of the wheel begins when `now + phase` is a whole number; 0 <= phase < 1.
   * @internal
   */
  readonly _phase: number;
  /**
   * Whether a reading is so expensive that the clock is sampled.
   * @internal
   */
  readonly _samples: boolean;
  /**
   * Raises an error that no handler took, as if thrown by a timer callback.
   * @internal
   */
  _raise(error: unknown): void;
  /**
   * Called when an error that no handler takes leaves a continuation's function and the pass. The clock
   * marks it with the continuation where it is reported.
   * @internal
   */
  _escaping(kc: Kcont<unknown>): void;
  /**
   * Called between two functions of a pass: empties the queues of `process.nextTick` and of microtasks,
   * if that is possible.
   *
   * @returns true: they are empty, or time stands still and they are left alone; false: they are
   * emptied only after the pass
   * @internal
   */
  _drain(): boolean;
  /**
   * Whether turns of the event loop drive the kernel; false if time stands still.
   * @internal
   */
  readonly _turns: boolean;
}

/**
 * Something that a clock wakes: the dispatcher of one CPU.
 *
 * @internal
 */
export interface Driven {
  /** Called once per turn after a request, after the poll phase. */
  pass(): void;
  /** Called when the time of an armed timer has come, before a poll phase. */
  timerFired(): void;
  /** Virtual time: the next time in ms at which a timer is due; Infinity: there are no timers. */
  nextDueMs(): number;
  /** Virtual time: expires what is due at this instant, and dispatches until nothing can be entered. */
  runNow(): void;
  /** Whether there are runnable continuations. */
  readonly runnable: boolean;
  /** Whether passes also serve other CPUs, which do not use this thread's fakes. */
  readonly served: boolean;
  /** The time in ms at which a timer is due. */
  dueMs(timer: object): number;
  /**
   * Reports all current and future deadlines to an observer; null: stops reporting.
   *
   * @returns whether some deadlines have already passed; these are not reported
   */
  tellDeadlines(deadlines: Deadlines | null): boolean;
  /** Called when a timer is due: runs what is due by now, and what is runnable. */
  ring(): void;
}

/**
 * An observer of the deadline of each timer, used under fake timers.
 *
 * @internal
 */
export interface Deadlines {
  /** Whether there is no clock: only timers whose alarm has rung have expired. */
  readonly alone: boolean;
  /** Called when a timer gets a deadline, or a later one. */
  set(timer: object): void;
  /** Called when a timer leaves the wheel. */
  drop(timer: object): void;
  /** Whether a timer is not due yet. */
  has(timer: object): boolean;
}

/**
 * The interface through which a dispatcher asks its clock to wake it.
 *
 * @internal
 */
export interface Waker {
  /** Requests a pass after the next poll phase. Repeated requests count as one. */
  request(): void;
  /**
   * Arms the single timer, and replaces an earlier setting.
   *
   * @param atMs - the time on this clock; Infinity: never
   */
  arm(atMs: number): void;
  /** Sets whether current and future requests and timers keep the process alive. */
  keepAlive(on: boolean): void;
  /** Cancels a requested pass. */
  takeBack(): void;
}
