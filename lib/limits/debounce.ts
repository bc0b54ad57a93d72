import { checkFunction, functionName, traceFrom, type Caller } from '../base/errors.ts';
import {
  FINITE_MS,
  FLAG,
  FUNCTION,
  TEXT,
  check,
  kindOf,
  optionsOf,
  readOptions,
  type Kind,
} from '../base/options-check.ts';
import { wq as processWorkqueues } from '../core/kernel.ts';
import { Workqueue } from '../core/workqueue.ts';
import { Debouncer, type Timing } from './debouncer.ts';
import { byKey, single, type KeyBy, type Unit, type UnitFactory } from './keyed-units.ts';

/**
 * Optional settings of {@link throttle}.
 *
 * @public
 */
export interface ThrottleOptions<A extends unknown[] = never> {
  /** Whether the first call invokes the function. Default true; false for a debounced function. */
  leading?: boolean;
  /** Whether the end of the wait invokes the function. Default true. */
  trailing?: boolean;
  /**
   * Returns a key from the arguments: calls with different keys do not affect each other. The state of a key is freed
   * when its wait has passed. Keys are compared as in a Map.
   */
  keyBy?: (...args: A) => unknown;
  /** The workqueue on which the end of the wait invokes the function. Default: `softclock`. */
  wq?: Workqueue;
  /** Whether a wait keeps the process alive. Default true. */
  ref?: boolean;
  /** Shown in reports; by default the function's name. */
  name?: string;
}

/**
 * Optional settings of {@link debounce}.
 *
 * @public
 */
export interface DebounceOptions<A extends unknown[] = never> extends ThrottleOptions<A> {
  /**
   * How long calls may put the function off, in ms: 0 or more, finite. A value below the wait counts as the wait.
   * Default: without limit.
   */
  maxWaitMs?: number;
}

/**
 * A debounced or throttled function.
 *
 * @public
 */
export interface Debounced<F extends (...args: never[]) => unknown> extends Disposable {
  /** Returns the result of the last invocation; undefined before the first one. */
  (this: ThisParameterType<F>, ...args: Parameters<F>): ReturnType<F> | undefined;
  /**
   * Forgets the calls that wait.
   *
   * @param key - with `keyBy`, only those of a key
   */
  cancel(key?: unknown): void;
  /**
   * Invokes the function for the calls that wait, and ends the wait.
   *
   * @param key - with `keyBy`, only those of a key
   * @returns the result of the last invocation; with `keyBy` and without a key, undefined
   */
  flush(key?: unknown): ReturnType<F> | undefined;
  /**
   * Tells whether a wait is in progress.
   *
   * @param key - with `keyBy`, only that of a key
   */
  pending(key?: unknown): boolean;
  /** With `keyBy`, the number of keys that are kept; otherwise 1. */
  readonly size: number;
}

/** The checks of the options that both have. */
const KINDS: { readonly [N in keyof ThrottleOptions]-?: Kind } = {
  leading: FLAG,
  trailing: FLAG,
  keyBy: FUNCTION,
  wq: kindOf('a Workqueue', (value) => value instanceof Workqueue),
  ref: FLAG,
  name: TEXT,
};
const THROTTLE = optionsOf<ThrottleOptions>('throttle', KINDS);
const DEBOUNCE = optionsOf<DebounceOptions>('debounce', { maxWaitMs: FINITE_MS, ...KINDS });

/**
 * Reads what debounced and throttled functions of both kinds are given.
 *
 * @internal
 */
export function readTiming(
  func: unknown,
  waitMs: number,
  options: { leading?: boolean; trailing?: boolean; maxWaitMs?: number },
  leading: boolean,
): Timing {
  checkFunction(func);
  check('waitMs', FINITE_MS, waitMs);
  const { maxWaitMs } = options;
  return {
    waitMs,
    maxWaitMs: maxWaitMs === undefined ? NaN : Math.max(maxWaitMs, waitMs),
    leading: options.leading ?? leading,
    trailing: options.trailing ?? true,
  };
}

/** Calls the user's function itself. */
class SyncUnit<R> implements Unit<R | undefined> {
  readonly #func: (...args: never[]) => R;
  readonly #name: string | undefined;
  readonly #debouncer: Debouncer<R>;
  readonly _idle?: () => void;

  constructor(
    func: (...args: never[]) => R,
    timing: Timing,
    options: ThrottleOptions,
    idle: (() => void) | undefined,
  ) {
    const { wq = processWorkqueues.softclock, ref = true, name } = options;
    this.#func = func;
    this.#name = name;
    if (idle !== undefined) this._idle = idle;
    this.#debouncer = new Debouncer<R>(this, timing, { wq, bits: 0, ref });
  }

  /** The given name, or that of its function, which is read only for a report. */
  get _name(): string {
    return this.#name ?? functionName(this.#func);
  }

  get pending(): boolean {
    return this.#debouncer.pending;
  }

  _invoke(self: unknown, args: readonly unknown[]): R {
    return this.#func.apply(self, args as never[]);
  }

  call(self: unknown, args: readonly unknown[]): R | undefined {
    return this.#debouncer.call(self, args);
  }

  flush(): R | undefined {
    return this.#debouncer.flush();
  }

  cancel(): void {
    this.#debouncer.cancel();
  }

  destroy(): void {
    this.#debouncer.destroy();
  }
}

function make<F extends (...args: never[]) => unknown>(
  func: F,
  timing: Timing,
  options: ThrottleOptions,
): Debounced<F> {
  const create: UnitFactory<unknown> = (idle) => new SyncUnit(func, timing, options, idle);
  const { keyBy } = options;
  const made = keyBy === undefined ? single(create) : byKey(create, keyBy as KeyBy);
  return made as unknown as Debounced<F>;
}

/**
 * Creates a function that is invoked when its calls have paused for some time.
 *
 * @remarks
 * The results are those of lodash's `debounce`. The function must be synchronous; for asynchronous ones there is
 * {@link debounceAsync}. On the leading edge, and if the limit has passed while the loop was blocked and no timer could
 * run, the call itself invokes the function, and throws what it throws. At the end of the wait it is called on the
 * workqueue, and its errors go to `onError`. It gets `this` and the arguments of the last call. When the kernel closes,
 * calls that wait are dropped: call `flush` before.
 *
 * @param func - the function
 * @param waitMs - how long calls have to pause, in ms: 0 or more, finite
 * @param options - optional settings
 * @returns the debounced function
 * @throws KcontError EINVAL for an invalid argument or option
 *
 * @example
 * ```ts
 * const save = debounce((doc: Doc) => store(doc), 500, { maxWaitMs: 5000, keyBy: (doc) => doc.id });
 * editor.on('change', save);
 * ```
 *
 * @public
 */
export function debounce<F extends (...args: never[]) => unknown>(
  func: F,
  waitMs: number,
  options?: DebounceOptions<Parameters<F>>,
): Debounced<F> {
  return guarded(debounce, () => {
    const given = readOptions(options, DEBOUNCE);
    return make(func, readTiming(func, waitMs, given, false), given);
  });
}

/**
 * Creates a function that is invoked at most once in some time.
 *
 * @remarks
 * The results are those of lodash's `throttle`: `debounce` with a leading edge and `maxWaitMs` equal to the wait.
 *
 * @param func - the function, which must be synchronous
 * @param waitMs - the time between two invocations, in ms: 0 or more, finite
 * @param options - optional settings
 * @returns the throttled function
 * @throws KcontError EINVAL for an invalid argument or option
 *
 * @public
 */
export function throttle<F extends (...args: never[]) => unknown>(
  func: F,
  waitMs: number,
  options?: ThrottleOptions<Parameters<F>>,
): Debounced<F> {
  return guarded(throttle, () => {
    const given = readOptions(options, THROTTLE);
    return make(func, readTiming(func, waitMs, { ...given, maxWaitMs: waitMs }, true), given);
  });
}

/**
 * Makes the stack of an error begin at the caller.
 *
 * @internal
 */
export function guarded<T>(caller: Caller, create: () => T): T {
  try {
    return create();
  } catch (error) {
    throw traceFrom(caller, error);
  }
}
