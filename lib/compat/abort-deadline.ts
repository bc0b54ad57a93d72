/**
 * Deadlines as abort signals: a cheaper `AbortSignal.timeout`, which can be let go early.
 *
 * @packageDocumentation
 */

/*
 * Deadlines as abort signals.
 *
 *   AbortSignal.timeout(ms)   a signal, a Timeout, a weak reference to the one in the other, and a
 *                             finalizer, for each call; nothing lets it go before its time
 *   deadline(ms)              a signal; the continuation behind it comes from a pool and goes back
 *                             when the deadline is let go or has passed
 *   new Deadline().arm(ms)    neither, as long as it does not pass: the signal is used again
 *
 * A signal of `deadline` is never used again for another caller: whoever kept it would be aborted
 * with a stranger. A `Deadline` is used again by its one owner, who knows.
 */

import type { Kcont } from '../core/kcont.ts';
import { makeOwn } from '../core/own-kcont.ts';
import { Kernel, kernel as processKernel } from '../core/kernel.ts';
import { invalid, isA, refuseOptions, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { FLAG, kindOf, optionsOf, readOptions } from '../base/options-check.ts';
import type { Task } from '../core/one-shot.ts';
import { resetOrThrow } from '../core/schedule.ts';
import { LIMIT, QUEUED, TASK } from '../core/state.ts';
import { Workqueue } from '../core/workqueue.ts';
import { named } from './function-name.ts';
import { checkDelay } from './node-error.ts';

/**
 * An abort signal that is aborted when its time has come, unless it is let go before.
 *
 * @public
 */
export interface DeadlineSignal extends AbortSignal, Disposable {
  /**
   * Lets the deadline go: the signal will not be aborted any more.
   *
   * @returns true: it was let go; false: it has passed, or had been let go before
   */
  [Symbol.dispose](): boolean;
}

/**
 * Makes deadlines of one kernel.
 *
 * @param ms - after how many ms the signal is aborted: 0 … 2^53−1
 * @returns the signal
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, RangeError `ERR_OUT_OF_RANGE`, as AbortSignal.timeout
 * does; KcontError ESHUTDOWN when the kernel is closed, EINVAL for options: {@link createDeadline} has them
 *
 * @public
 */
export type DeadlineFunction = (ms: number) => DeadlineSignal;

/**
 * How deadlines are made.
 *
 * @public
 */
export interface DeadlineOptions {
  /** True: keeps the process alive while it runs. Default false, as AbortSignal.timeout. */
  ref?: boolean;
  /** Where listeners are called. Default `softclock`: the priority of timers. */
  wq?: Workqueue;
}

const DEADLINE = optionsOf<DeadlineOptions>('Deadline', {
  ref: FLAG,
  wq: kindOf('a Workqueue of the same kernel', (wq) => wq instanceof Workqueue),
});

/** How many idle continuations a pool keeps. */
const POOLED = 4096;

/** A pooled continuation, and whose deadline it is at present. */
class Slot implements Task {
  controller: AbortController | null = null;
  readonly kc: Kcont<Slot>;
  readonly #pool: Slot[];

  constructor(wq: Workqueue, ref: boolean, pool: Slot[]) {
    this.#pool = pool;
    const options = ref ? undefined : { ref: false };
    this.kc = makeOwn<Slot>(TASK | LIMIT, wq, null, Slot.#pass, this, options);
  }

  /** Called as it reads in reports. */
  static readonly #pass = {
    deadline: (slot: Slot): void => slot._abort(timedOut()),
  }.deadline;

  /** The deadline has passed, or its kernel is closed and cannot keep it. */
  _abort(reason: unknown): void {
    const { controller } = this;
    this.free();
    controller?.abort(reason);
  }

  /** Starts the time of a new signal, which gets one property only: on Node 20 each costs 1.5 µs. */
  arm(ms: number): DeadlineSignal {
    const controller = new AbortController();
    const signal = controller.signal as DeadlineSignal;
    // It may be a listener of the abort just made that takes the continuation again.
    resetOrThrow(this.kc, ms);
    this.controller = controller;
    signal[Symbol.dispose] = () => this.release(controller);
    return signal;
  }

  /** Lets a deadline go, if it is still the one that has this continuation. */
  release(controller: AbortController): boolean {
    if (this.controller !== controller) return false;
    this.kc.stop();
    this.free();
    return true;
  }

  /** Back into the pool. */
  free(): void {
    this.controller = null;
    if (this.#pool.length < POOLED) this.#pool.push(this);
    else this.kc.destroy();
  }
}

/**
 * Makes a function that makes deadlines on a kernel of your own.
 *
 * @param kernel - whose clock and workqueues they use
 * @param options - what few need
 * @returns a function like {@link deadline}
 * @throws KcontError EINVAL for a kernel, a workqueue or an option that is not what it has to be
 *
 * @example
 * ```ts
 * const clock = new VirtualClock();
 * const deadline = createDeadline(new Kernel({ clock }));
 * const signal = deadline(500);
 * clock.tick(500); // signal.aborted
 * ```
 *
 * @public
 */
export function createDeadline(
  kernel: Kernel = processKernel,
  options?: DeadlineOptions,
): DeadlineFunction {
  const { wq, ref } = settings(kernel, options, createDeadline);
  const pool: Slot[] = [];
  const make = named('deadline', (ms: number, given?: unknown) => {
    checkDelay(ms);
    // Not a number, as an Array's `map` gives it.
    if (typeof given === 'object') refuseOptions(given, 'deadline', make);
    const slot = pool.pop() ?? new Slot(wq, ref, pool);
    try {
      return slot.arm(ms);
    } catch (error) {
      slot.free();
      throw error;
    }
  });
  return make;
}

/**
 * Lets a deadline go before its time: the same as disposing its signal.
 *
 * @param signal - what {@link deadline} has returned
 * @returns true: it will not be aborted any more; false: it has passed, or had been let go before
 * @throws KcontError EINVAL for what is no such signal
 *
 * @public
 */
export function release(signal: DeadlineSignal): boolean {
  if (!isA(signal, AbortSignal) || typeof signal[Symbol.dispose] !== 'function') {
    throw traceFrom(release, invalid('signal', 'what deadline has returned', signal));
  }
  return signal[Symbol.dispose]();
}

/**
 * A signal that is aborted after some time: a cheaper `AbortSignal.timeout`.
 *
 * @remarks
 * The reason is the same: a DOMException called `TimeoutError`. It costs no host timer, and can be
 * let go early, which whoever makes many should do: until then it is kept. Never aborted early, and
 * after the I/O that has arrived. Its listeners see no AsyncLocalStorage store. It does not keep the
 * process alive. When the kernel closes, it runs on as long as work of the kernel does, and is then
 * aborted with KcontError ESHUTDOWN.
 *
 * @param ms - after how many ms it is aborted: 0 … 2^53−1
 * @returns the signal
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, RangeError `ERR_OUT_OF_RANGE`, as AbortSignal.timeout
 * does; KcontError ESHUTDOWN when the kernel is closed
 *
 * @example
 * ```ts
 * using signal = deadline(5000);
 * const response = await fetch(url, { signal });
 * ```
 *
 * @public
 */
export const deadline: DeadlineFunction = createDeadline();

/**
 * A deadline that its owner uses again and again: one request after the other.
 *
 * @remarks
 * Its signal stays the same as long as the deadline does not pass, so that arming and letting go
 * allocate nothing. So it is for one operation at a time, whose listeners are gone when it is armed
 * for the next.
 *
 * @example
 * ```ts
 * const patience = new Deadline();
 * for (const url of urls) {
 *   const response = await fetch(url, { signal: patience.arm(5000) });
 *   patience.disarm();
 * }
 * ```
 *
 * @public
 */
export class Deadline implements Disposable {
  readonly #kc: Kcont<Deadline>;
  #controller = new AbortController();

  /**
   * Makes a deadline that is not armed.
   *
   * @param kernel - whose clock and workqueues it uses; by default the process-wide one
   * @param options - what few need
   * @throws KcontError EINVAL for a kernel, a workqueue or an option that is not what it has to be
   */
  constructor(kernel: Kernel = processKernel, options?: DeadlineOptions) {
    const { wq, ref } = settings(kernel, options, Deadline);
    const own = { ref, name: 'Deadline' };
    this.#kc = makeOwn<Deadline>(TASK | LIMIT, wq, null, Deadline.#pass, this, own);
  }

  static #pass(self: Deadline): void {
    self._abort(timedOut());
  }

  /** @internal */
  _abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** The signal: a new one after the deadline has passed and is armed again. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether it runs: its time is neither over nor stopped. */
  get armed(): boolean {
    // In its own listeners it has passed.
    return this.#kc.pending || (this.#kc._state & QUEUED) !== 0;
  }

  /**
   * Starts the time, or starts it anew.
   *
   * @param ms - after how many ms the signal is aborted: 0 … 2^53−1
   * @returns the signal
   * @throws as {@link deadline}; KcontError EINVAL when it has been disposed
   */
  arm(ms: number): AbortSignal {
    checkDelay(ms);
    resetOrThrow(this.#kc, ms);
    if (this.#controller.signal.aborted) this.#controller = new AbortController();
    return this.#controller.signal;
  }

  /**
   * Moves the deadline to now plus the time it was last armed for: a store.
   *
   * @returns true: moved; false: it does not run
   */
  touch(): boolean {
    return this.#kc.touch();
  }

  /**
   * Stops the time.
   *
   * @returns true: stopped; false: it did not run
   */
  disarm(): boolean {
    const { armed } = this;
    this.#kc.stop();
    return armed;
  }

  /** How it reads in `util.inspect`. */
  static {
    defineInspect<Deadline>(Deadline, (it) => {
      const kc = it.#kc;
      if (kc.destroyed) return 'Deadline { disposed }';
      if (kc.pending) {
        return `Deadline { due in ${Math.ceil(kc.deadline - kc.wq.kernel.now())} ms }`;
      }
      if (kc.invoking) return 'Deadline { due }';
      return `Deadline { ${it.signal.aborted ? 'passed' : 'not armed'} }`;
    });
  }

  /** Stops the time for good. */
  [Symbol.dispose](): void {
    this.#kc.destroy();
  }
}

function timedOut(): DOMException {
  return new DOMException('The operation was aborted due to timeout', 'TimeoutError');
}

function settings(
  kernel: Kernel,
  options: DeadlineOptions | undefined,
  caller: Caller,
): { wq: Workqueue; ref: boolean } {
  try {
    if (!isA(kernel, Kernel)) throw invalid('kernel', 'a Kernel', kernel);
    const { wq = kernel.wq.softclock, ref = false } = readOptions(options, DEADLINE);
    if (wq.kernel !== kernel) throw invalid('wq', DEADLINE.kinds['wq']?.expected ?? '', wq);
    return { wq, ref };
  } catch (error) {
    throw traceFrom(caller, error);
  }
}
