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
  readonly _rations: boolean;
  /**
   * Raises an error that no handler took, as from a timer callback.
   * @internal
   */
  _raise(error: unknown): void;
  /**
   * Between two functions of one pass: runs what waits in the queues of `process.nextTick` and of
   * microtasks.
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
  /** Virtual time: whether something has become runnable since. */
  readonly runnable: boolean;
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
