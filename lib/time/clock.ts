import type { Kcont } from '../core/kcont.ts';

/**
 * A source of monotonic time that also wakes a kernel.
 *
 * @remarks
 * There are two: the clock of the host, which a kernel takes by default, and
 * {@link VirtualClock} for tests. Other clocks are not supported.
 *
 * @public
 */
export interface Clock {
  /** Milliseconds, monotonic, with fractions where the host has them. */
  readonly now: number;
  /**
   * Makes the clock wake a dispatcher.
   * @internal
   */
  _drive(driven: Driven): Waker;
  /**
   * Ticks begin at whole numbers of `now + phase`; 0 <= phase < 1.
   * @internal
   */
  readonly _phase: number;
  /**
   * Whether a reading costs so much that it is rationed.
   * @internal
   */
  readonly _samples: boolean;
  /**
   * Raises an error that no handler took, as from a timer callback.
   * @internal
   */
  _raise(error: unknown): void;
  /**
   * The function of a continuation has thrown, nobody takes its error, and it is on its way out of the
   * pass: it is to be marked where it comes out.
   * @internal
   */
  _escaping(kc: Kcont<unknown>): void;
  /**
   * Between two functions of one pass: what becomes of the queues of `process.nextTick` and of
   * microtasks. Where it can be done, they are emptied.
   *
   * @returns true: they are empty, or time stands still and they stay as they are; false: they
   * empty only when the pass has ended
   * @internal
   */
  _drain(): boolean;
  /**
   * Whether turns come by themselves; where time stands still they do not.
   * @internal
   */
  readonly _turns: boolean;
}

/**
 * What a clock wakes: the dispatcher of one CPU.
 *
 * @internal
 */
export interface Driven {
  /** Called once per turn after a request, after the poll phase. */
  pass(): void;
  /** Called when an armed timer fires, before the poll phase. */
  timerFired(): void;
  /** Virtual time: the next time in ms at which a timer is due; Infinity if none. */
  nextDueMs(): number;
  /** Virtual time: expires what is due at this instant, and dispatches until nothing can be entered. */
  runNow(): void;
  /** Whether something can be entered. */
  readonly runnable: boolean;
  /** Whether passes serve other CPUs too, which do not know of fakes. */
  readonly served: boolean;
  /** The absolute tick at which a timer is due. */
  dueTick(timer: object): number;
  /**
   * Tells of each deadline from now on, and of those that there are; null: does so no more.
   *
   * @returns whether some have passed already, of which it does not tell
   */
  tellDeadlines(deadlines: Deadlines | null): boolean;
  /** The time of a timer is over: runs what is due by now, and what can be entered. */
  ring(): void;
}

/**
 * Who is told of the deadline of each single timer: fakes are in the place of the host's timers.
 *
 * @internal
 */
export interface Deadlines {
  /** Nothing tells the time but the timers themselves: only those that are over have expired. */
  readonly alone: boolean;
  /** A timer has got a deadline, or a later one. */
  set(timer: object): void;
  /** A timer has left the wheel. */
  drop(timer: object): void;
  /** Whether the time of a timer is still to come. */
  has(timer: object): boolean;
}

/**
 * How a dispatcher asks its clock to wake it.
 *
 * @internal
 */
export interface Waker {
  /** Asks for a pass after the next poll phase. Asking twice is asking once. */
  request(): void;
  /**
   * Arms the one timer, in place of what was armed.
   *
   * @param atMs - time on the clock's axis; Infinity: never
   */
  arm(atMs: number): void;
  /** Whether what is asked for and armed keeps the process alive, now and from now on. */
  keepAlive(on: boolean): void;
  /** Takes back the pass that was asked for. */
  takeBack(): void;
}
