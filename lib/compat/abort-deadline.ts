/**
 * Deadlines as abort signals: a cheaper `AbortSignal.timeout` that can be released early.
 *
 * @packageDocumentation
 */

/*
 * Deadlines as abort signals.
 *
 *   AbortSignal.timeout(ms)   each call allocates a signal, a Timeout with a weak reference to the
 *                             signal, and a finalizer; it cannot be released early
 *   deadline(ms)              each call allocates a signal; its continuation comes from a pool, and
 *                             returns to it when the deadline is released or has passed
 *   new Deadline().arm(ms)    allocates nothing, and reuses its signal until a deadline passes
 *
 * A signal of `deadline` is never reused for another caller: code that kept it would be aborted by an
 * unrelated deadline. A `Deadline` is reused only by its owner.
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
 * An abort signal that is aborted after some time, unless it is released before.
 *
 * @public
 */
export interface DeadlineSignal extends AbortSignal, Disposable {
  /**
   * Releases the deadline: the signal will not be aborted any more.
   *
   * @returns true if it was released; false if it has passed or was released before
   */
  [Symbol.dispose](): boolean;
}

/**
 * Creates deadlines on one kernel.
 *
 * @param ms - the delay after which the signal is aborted, in ms: 0 … 2^53−1
 * @returns the signal
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, RangeError `ERR_OUT_OF_RANGE`, as AbortSignal.timeout
 * does; KcontError ESHUTDOWN if the kernel is closed, EINVAL for options, which {@link createDeadline}
 * takes
 *
 * @public
 */
export type DeadlineFunction = (ms: number) => DeadlineSignal;

/**
 * Options of {@link createDeadline} and {@link Deadline}.
 *
 * @public
 */
export interface DeadlineOptions {
  /** Whether it keeps the process alive while it runs. Default false, as for AbortSignal.timeout. */
  ref?: boolean;
  /** The workqueue on which listeners are called. Default `softclock`, at the priority of timers. */
  wq?: Workqueue;
}

const DEADLINE = optionsOf<DeadlineOptions>('Deadline', {
  ref: FLAG,
  wq: kindOf('a Workqueue of the same kernel', (wq) => wq instanceof Workqueue),
});

/** Number of idle continuations that a pool keeps. */
const POOLED = 4096;

/** A pooled continuation, and the deadline it serves at present. */
class Slot implements Task {
  controller: AbortController | null = null;
  readonly kc: Kcont<Slot>;
  readonly #pool: Slot[];

  constructor(wq: Workqueue, ref: boolean, pool: Slot[]) {
    this.#pool = pool;
    const options = ref ? undefined : { ref: false };
    this.kc = makeOwn<Slot>(TASK | LIMIT, wq, null, Slot.#pass, this, options);
  }

  /** Named `deadline`, as it should read in reports. */
  static readonly #pass = {
    deadline: (slot: Slot): void => slot._abort(timedOut()),
  }.deadline;

  /** Aborts the signal, because the deadline has passed or its kernel is closed. */
  _abort(reason: unknown): void {
    const { controller } = this;
    this.free();
    controller?.abort(reason);
  }

  /** Arms a new signal. It gets only one property: on Node 20 each costs 1.5 µs. */
  arm(ms: number): DeadlineSignal {
    const controller = new AbortController();
    const signal = controller.signal as DeadlineSignal;
    // A listener of the abort that freed this continuation may already be reusing it here.
    resetOrThrow(this.kc, ms);
    this.controller = controller;
    signal[Symbol.dispose] = () => this.release(controller);
    return signal;
  }

  /** Releases a deadline, if it is still the one that uses this continuation. */
  release(controller: AbortController): boolean {
    if (this.controller !== controller) return false;
    this.kc.stop();
    this.free();
    return true;
  }

  /** Returns the continuation to the pool. */
  free(): void {
    this.controller = null;
    if (this.#pool.length < POOLED) this.#pool.push(this);
    else this.kc.destroy();
  }
}

/**
 * Creates a function like {@link deadline} for another kernel.
 *
 * @param kernel - the kernel whose clock and workqueues the deadlines use
 * @param options - optional settings
 * @returns a function like {@link deadline}
 * @throws KcontError EINVAL for an invalid kernel, workqueue or option
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
    // Numbers are allowed, because an Array's `map` passes an index.
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
 * Releases a deadline before it passes. Disposing its signal does the same.
 *
 * @param signal - a signal returned by {@link deadline}
 * @returns true if it was released; false if it has passed or was released before
 * @throws KcontError EINVAL for any other value
 *
 * @public
 */
export function release(signal: DeadlineSignal): boolean {
  if (!isA(signal, AbortSignal) || typeof signal[Symbol.dispose] !== 'function') {
    throw traceFrom(release, invalid('signal', 'a signal returned by deadline', signal));
  }
  return signal[Symbol.dispose]();
}

/**
 * Returns a signal that is aborted after some time: a cheaper `AbortSignal.timeout`.
 *
 * @remarks
 * The reason is the same, a DOMException named `TimeoutError`. It uses no host timer. It can be
 * released early, which is recommended for large numbers of deadlines, because each is kept in memory
 * until it is released or passes. The signal is never aborted early, and only after the callbacks of
 * I/O that has arrived. Its listeners see no AsyncLocalStorage store. It does not keep the process
 * alive. When the kernel closes, the deadline runs while the kernel still has work in flight, and is
 * then aborted with KcontError ESHUTDOWN.
 *
 * @param ms - the delay after which it is aborted, in ms: 0 … 2^53−1
 * @returns the signal
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, RangeError `ERR_OUT_OF_RANGE`, as AbortSignal.timeout
 * does; KcontError ESHUTDOWN if the kernel is closed
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
 * A reusable deadline, for one operation after the other.
 *
 * @remarks
 * Its signal stays the same until a deadline passes, so arming and disarming allocate nothing. Use it
 * for one operation at a time: the listeners of an operation must be removed before it is armed for
 * the next one.
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
   * Creates a deadline that is not armed.
   *
   * @param kernel - the kernel whose clock and workqueues it uses; by default the process-wide one
   * @param options - optional settings
   * @throws KcontError EINVAL for an invalid kernel, workqueue or option
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

  /** The signal. It is replaced when the deadline is armed again after it has passed. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether it runs: it has neither passed nor been disarmed. */
  get armed(): boolean {
    // The listeners of its own signal see that it has passed.
    return this.#kc.pending || (this.#kc._state & QUEUED) !== 0;
  }

  /**
   * Starts or restarts the deadline.
   *
   * @param ms - the delay after which the signal is aborted, in ms: 0 … 2^53−1
   * @returns the signal
   * @throws as {@link deadline}; KcontError EINVAL if it has been disposed
   */
  arm(ms: number): AbortSignal {
    checkDelay(ms);
    resetOrThrow(this.#kc, ms);
    if (this.#controller.signal.aborted) this.#controller = new AbortController();
    return this.#controller.signal;
  }

  /**
   * Moves the deadline to now plus the delay it was last armed with. This costs one store.
   *
   * @returns true if it was moved; false if it is not armed
   */
  touch(): boolean {
    return this.#kc.touch();
  }

  /**
   * Stops the deadline.
   *
   * @returns true if it was stopped; false if it was not armed
   */
  disarm(): boolean {
    const { armed } = this;
    this.#kc.stop();
    return armed;
  }

  /** Shows its state in `util.inspect`. */
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

  /** Stops the deadline. It cannot be armed again. */
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
