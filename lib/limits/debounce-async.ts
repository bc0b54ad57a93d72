/*
 * Debounced asynchronous functions: a promise for each call, and runs that never overlap.
 *
 *   call ---> batch ---- the edges of debouncer.ts ----> next ----> runner: a continuation ----> settled
 *               ^ further calls join                      ^ joined by other batches while a run is in flight
 *
 * All calls of a batch get one promise, that of the run which answers them. At most one batch waits for the end of the
 * run in flight: a later batch joins it, and brings newer arguments. So if runs take longer than the wait, they follow
 * each other, and nothing piles up.
 */

import { EBUSY, functionName, invalid } from '../base/errors.ts';
import { nothing } from '../base/nothing.ts';
import {
  FINITE_MS,
  FLAG,
  FUNCTION,
  TEXT,
  kindOf,
  optionsOf,
  readOptions,
  type Kind,
} from '../base/options-check.ts';
import { adopt, thenOf } from '../core/invoke.ts';
import type { Kcont } from '../core/kcont.ts';
import { wq as processWorkqueues } from '../core/kernel.ts';
import { makeOwn } from '../core/own-kcont.ts';
import { refusal, reset } from '../core/schedule.ts';
import { QUIET, TASK } from '../core/state.ts';
import { Workqueue } from '../core/workqueue.ts';
import type { Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import { guarded, readTiming, type DebounceOptions, type ThrottleOptions } from './debounce.ts';
import { Debouncer, type Timing } from './debouncer.ts';
import { byKey, single, type KeyBy, type Unit, type UnitFactory } from './keyed-units.ts';

/**
 * Optional settings of {@link throttleAsync}: those of {@link throttle}, and a lock. The workqueue is by default
 * `prihigh` and runs both edges.
 *
 * @public
 */
export interface ThrottleAsyncOptions<A extends unknown[] = never> extends ThrottleOptions<A> {
  /** Held during each run. Default null: no lock. */
  lock?: Lock | null;
}

/**
 * Optional settings of {@link debounceAsync}: those of {@link debounce}, and a lock. The workqueue is by default
 * `prihigh` and runs both edges.
 *
 * @public
 */
export interface DebounceAsyncOptions<A extends unknown[] = never> extends DebounceOptions<A> {
  /** Held during each run. Default null: no lock. */
  lock?: Lock | null;
}

/**
 * A debounced or throttled asynchronous function.
 *
 * @public
 */
export interface DebouncedAsync<F extends (...args: never[]) => unknown> extends Disposable {
  /** Returns a promise of the result of the run that answers this call. Calls of one run share a promise. */
  (this: ThisParameterType<F>, ...args: Parameters<F>): Promise<Awaited<ReturnType<F>>>;
  /**
   * Rejects the calls that wait for a run. A run in flight continues.
   *
   * @param key - with `keyBy`, only those of a key
   */
  cancel(key?: unknown): void;
  /**
   * Runs the function for the calls that wait, and ends the wait.
   *
   * @param key - with `keyBy`, only those of a key
   * @returns the promise of these calls; undefined if there are none, and if `keyBy` is used and no key is given
   */
  flush(key?: unknown): Promise<Awaited<ReturnType<F>>> | undefined;
  /**
   * Tells whether calls wait for a run.
   *
   * @param key - with `keyBy`, only those of a key
   */
  pending(key?: unknown): boolean;
  /** With `keyBy`, the number of keys that are kept; otherwise 1. */
  readonly size: number;
}

const KINDS: { readonly [N in keyof ThrottleAsyncOptions]-?: Kind } = {
  leading: FLAG,
  trailing: FLAG,
  keyBy: FUNCTION,
  lock: LOCK,
  wq: kindOf('a Workqueue', (value) => value instanceof Workqueue),
  ref: FLAG,
  name: TEXT,
};
const THROTTLE = optionsOf<ThrottleAsyncOptions>('throttleAsync', KINDS);
const DEBOUNCE = optionsOf<DebounceAsyncOptions>('debounceAsync', {
  maxWaitMs: FINITE_MS,
  ...KINDS,
});

/** Calls that one run answers. */
class Batch {
  readonly promise: Promise<unknown>;
  resolve: (value: unknown) => void = nothing;
  reject: (reason: unknown) => void = nothing;
  self: unknown = undefined;
  args: readonly unknown[] = [];

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** One debounced function, or that of one key. */
class AsyncUnit implements Unit<Promise<unknown>> {
  readonly #func: (...args: never[]) => unknown;
  readonly #name: string | undefined;
  readonly #debouncer: Debouncer<void>;
  readonly #runner: Kcont<AsyncUnit>;
  readonly #hasTrailing: boolean;
  readonly #whenIdle: (() => void) | undefined;
  /** The calls that wait for an edge. */
  #batch: Batch | undefined = undefined;
  /** The batch of the next run. */
  #next: Batch | undefined = undefined;
  #running: Batch | undefined = undefined;
  /** The last batch that was invoked: without a trailing edge, it answers the calls that follow. */
  #last: Batch | undefined = undefined;
  #isDestroyed = false;
  readonly _idle?: () => void;

  constructor(
    func: (...args: never[]) => unknown,
    timing: Timing,
    options: ThrottleAsyncOptions,
    idle: (() => void) | undefined,
  ) {
    const { wq = processWorkqueues.prihigh, lock = null, ref = true } = options;
    this.#func = func;
    this.#name = options.name;
    this.#hasTrailing = timing.trailing;
    this.#whenIdle = idle;
    if (idle !== undefined) this._idle = () => this.#checkIdle();
    const { softclock } = wq.kernel.wq;
    this.#debouncer = new Debouncer<void>(this, timing, { wq: softclock, bits: TASK, ref });
    this.#runner = makeOwn<AsyncUnit>(QUIET | TASK, wq, lock, enter, this);
  }

  /** The given name, or that of its function, which is read only for a report. */
  get _name(): string {
    return this.#name ?? functionName(this.#func);
  }

  get pending(): boolean {
    return this.#batch !== undefined || this.#next !== undefined;
  }

  call(self: unknown, args: readonly unknown[]): Promise<unknown> {
    if (this.#isDestroyed) return Promise.reject(cancelled());
    const batch = (this.#batch ??= new Batch());
    this.#debouncer.call(self, args);
    if (this.#batch !== batch || this.#hasTrailing) return batch.promise;
    // No run follows this call: that of the leading edge answers it.
    this.#batch = undefined;
    return (this.#last ?? batch).promise;
  }

  /** Called at an edge. */
  _invoke(self: unknown, args: readonly unknown[]): void {
    const batch = this.#batch as Batch;
    this.#batch = undefined;
    const next = this.#next;
    if (next !== undefined) {
      next.self = self;
      next.args = args;
      batch.resolve(next.promise);
      return;
    }
    batch.self = self;
    batch.args = args;
    this.#next = batch;
    this.#last = batch;
    const errno = reset(this.#runner, 0, null);
    if (errno !== 0) this.#rejectWaiting(refusal(this.#runner, errno, 0, null));
  }

  /**
   * Called when its timer was withdrawn, or cannot be started, because the kernel closes. A run that is already
   * scheduled is served in the grace, and `_abort` tells if it is not.
   */
  _withdrawn(reason: unknown): void {
    const batch = this.#batch;
    this.#batch = undefined;
    batch?.reject(reason ?? refusal(this.#runner, EBUSY, 0, null));
  }

  /** Called when the kernel closes, and the scheduled run was withdrawn or the grace of a run in flight is over. */
  _abort(reason: unknown): void {
    this.#rejectWaiting(reason);
  }

  _abandon(reason: unknown): void {
    this.#running?.reject(reason);
  }

  _fulfilled(value: unknown): void {
    this.#running?.resolve(value);
    this.#settled();
  }

  _rejected(error: unknown): void {
    this.#running?.reject(error);
    this.#settled();
  }

  _misused(error: unknown): void {
    this.#running?.reject(error);
  }

  /** Runs the function. */
  _enter(): undefined | Promise<unknown> {
    const batch = this.#next as Batch;
    this.#next = undefined;
    this.#running = batch;
    this.#runner.ack();
    try {
      const result = this.#func.apply(batch.self, batch.args as never[]);
      const then = thenOf(result);
      if (then !== undefined) return adopt(result, then);
      batch.resolve(result);
    } catch (error) {
      batch.reject(error);
    }
    this.#settled();
    return undefined;
  }

  flush(): Promise<unknown> | undefined {
    const batch = this.#batch;
    this.#debouncer.flush();
    return batch?.promise ?? this.#next?.promise;
  }

  cancel(): void {
    this.#runner.stop();
    this.#rejectWaiting(cancelled());
    this.#debouncer.cancel();
  }

  destroy(): void {
    this.#isDestroyed = true;
    this.#runner.stop();
    this.#rejectWaiting(cancelled());
    this.#debouncer.destroy();
    this.#runner.destroy();
  }

  #rejectWaiting(reason: unknown): void {
    const waiting = [this.#next, this.#batch];
    this.#next = undefined;
    this.#batch = undefined;
    for (const batch of waiting) batch?.reject(reason);
  }

  #settled(): void {
    this.#running = undefined;
    this.#checkIdle();
  }

  #checkIdle(): void {
    if (this.#isDestroyed || this.pending || this.#running !== undefined) return;
    if (this.#debouncer.busy) return;
    this.#whenIdle?.();
  }
}

function enter(unit: AsyncUnit): undefined | Promise<unknown> {
  return unit._enter();
}

function refuse(...error: [] | [error: unknown]): Promise<never> {
  return Promise.reject(error.length === 0 ? cancelled() : error[0]);
}

function cancelled(): DOMException {
  return new DOMException('The calls were cancelled', 'AbortError');
}

function make<F extends (...args: never[]) => unknown>(
  func: F,
  timing: Timing,
  options: ThrottleAsyncOptions,
): DebouncedAsync<F> {
  if (!timing.leading && !timing.trailing) {
    throw invalid('trailing', 'true without a leading edge', false);
  }
  const create: UnitFactory<Promise<unknown>> = (idle) =>
    new AsyncUnit(func, timing, options, idle);
  const { keyBy } = options;
  const made = keyBy === undefined ? single(create) : byKey(create, keyBy as KeyBy, refuse);
  return made as unknown as DebouncedAsync<F>;
}

/**
 * Creates an asynchronous function that is run when its calls have paused for some time.
 *
 * @remarks
 * Each call gets a promise of the result of the run that answers it. Runs never overlap. A run gets `this` and the
 * arguments of the last call that it answers; without a trailing edge, of the first. If the kernel closes, calls
 * that wait are rejected with KcontError ESHUTDOWN.
 *
 * @param func - the function
 * @param waitMs - how long calls have to pause, in ms: 0 or more, finite
 * @param options - optional settings
 * @returns the debounced function
 * @throws KcontError EINVAL for an invalid argument or option, and if both edges are false
 *
 * @example
 * ```ts
 * const search = debounceAsync((text: string) => fetchMatches(text), 200);
 * input.on('change', async (text) => show(await search(text)));
 * ```
 *
 * @public
 */
export function debounceAsync<F extends (...args: never[]) => unknown>(
  func: F,
  waitMs: number,
  options?: DebounceAsyncOptions<Parameters<F>>,
): DebouncedAsync<F> {
  return guarded(debounceAsync, () => {
    const given = readOptions(options, DEBOUNCE);
    return make(func, readTiming(func, waitMs, given, false), given);
  });
}

/**
 * Creates an asynchronous function that is begun at most once in some time.
 *
 * @remarks
 * The same as {@link debounceAsync} with a leading edge, and with `maxWaitMs` equal to the wait.
 *
 * @param func - the function
 * @param waitMs - the time between two runs, in ms: 0 or more, finite
 * @param options - optional settings
 * @returns the throttled function
 * @throws KcontError EINVAL for an invalid argument or option, and if both edges are false
 *
 * @public
 */
export function throttleAsync<F extends (...args: never[]) => unknown>(
  func: F,
  waitMs: number,
  options?: ThrottleAsyncOptions<Parameters<F>>,
): DebouncedAsync<F> {
  return guarded(throttleAsync, () => {
    const given = readOptions(options, THROTTLE);
    return make(func, readTiming(func, waitMs, { ...given, maxWaitMs: waitMs }, true), given);
  });
}
