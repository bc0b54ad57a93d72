/*
 * Retries: one continuation for all attempts.
 *
 *   QUEUED ----> RUNNING ---- returned a value -------------------------------> fulfilled
 *      ^            | failed
 *      |            +-- no attempts left, retryIf, budget, deadline, closed --> rejected
 *      |            v
 *      +--------- PENDING   waits in backoff, without the lock
 *
 * So an attempt has the priority, the order and the lock of any other job, a wait costs a timer in the wheel,
 * and a `stop` that finds no attempt in flight destroys the continuation, so that none begins. The continuation
 * is a Task: a shutdown withdraws a wait and tells the caller.
 *
 * The function, `retryIf` and `onRetry` may call any method of their own retry. Once it has ended, nothing
 * changes its state or result.
 */

import { join, leave } from '../base/abort-listeners.ts';
import {
  backoffOf,
  retryAfterMsOf,
  type BackoffFunction,
  type BackoffOptions,
} from '../base/backoff.ts';
import {
  KcontError,
  asynchronous,
  causedBy,
  checkFunction,
  functionName,
  invalid,
  isCallable,
  traceFrom,
  type Caller,
} from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { nothing } from '../base/nothing.ts';
import {
  FUNCTION,
  POSITIVE_MS,
  SIGNAL,
  TEXT,
  integerOf,
  isObject,
  kindOf,
  oneOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import { countFailure, adopt, thenOf, whenDone, type Then } from '../core/invoke.ts';
import type { Kcont } from '../core/kcont.ts';
import { wq as processWorkqueues } from '../core/kernel.ts';
import { makeOwn } from '../core/own-kcont.ts';
import { reset, scheduleOrThrow } from '../core/schedule.ts';
import { LIMIT, QUIET, TASK } from '../core/state.ts';
import { Workqueue } from '../core/workqueue.ts';
import type { Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import { AttemptErrors } from './causes.ts';
import { RetryBudget, checkBudget } from './retry-budget.ts';

/**
 * A function that is retried. If it declares a parameter, it gets a signal and the retry. A rest parameter and one with
 * a default value do not count.
 *
 * @public
 */
export type RetryFunction<T> = (signal: AbortSignal, handle: Retry<T>) => T | PromiseLike<T>;

/**
 * Optional settings of a retry.
 *
 * @public
 */
export interface RetryOptions {
  /** How often the function is called at most: 1 or more, or Infinity. Default 5. */
  attempts?: number;
  /**
   * How long to wait between attempts: settings, or a function that returns ms. If an error has a number
   * `retryAfterMs`, the wait is at least that long; if that is more than 2^53-1 ms, the retry ends with the error.
   * Default: 100 ms, doubled each time, with full jitter.
   */
  backoff?: BackoffOptions | BackoffFunction;
  /**
   * Called after each attempt that failed while more attempts are left; returns whether to try again. If
   * it throws or does not return a boolean, that error ends the retry. Default: always.
   */
  retryIf?: (error: unknown, handle: Retry<unknown>) => boolean;
  /** Called before each wait. If it throws, its error ends the retry. */
  onRetry?: (error: unknown, handle: Retry<unknown>) => void;
  /**
   * Ends the retry when aborted. A wait ends immediately. During an attempt the function's signal is
   * aborted, and the retry ends when that attempt settles.
   */
  signal?: AbortSignal;
  /**
   * How long all attempts and waits may take together, in ms: more than 0, finite. After that the retry is
   * rejected with KcontError ETIMEDOUT, also during an attempt. A wait that would take longer is not begun.
   */
  deadlineMs?: number;
  /** Held during each attempt, but not between attempts. Default null: no lock. */
  lock?: Lock | null;
  /** The workqueue of the attempts. Default: `prihigh` of the process-wide kernel. */
  wq?: Workqueue;
  /** A limit that several retries share. Must be of the workqueue's kernel. */
  budget?: RetryBudget;
  /** Shown in reports; by default the function's name. */
  name?: string;
  /** Which AsyncLocalStorage stores the function sees. Default `'none'`. */
  context?: 'none' | 'create';
}

/**
 * The state of a {@link Retry}.
 *
 * @public
 */
export type RetryState = 'queued' | 'running' | 'waiting' | 'fulfilled' | 'rejected';

const RETRY = optionsOf<RetryOptions>('retry', {
  attempts: integerOf('an integer >= 1 or Infinity', 1, Infinity),
  // What settings contain is checked by `backoffOf`.
  backoff: kindOf(
    'an object or a function',
    (value) => isCallable(value) || (isObject(value) && !Array.isArray(value)),
  ),
  retryIf: FUNCTION,
  onRetry: FUNCTION,
  signal: SIGNAL,
  deadlineMs: POSITIVE_MS,
  lock: LOCK,
  wq: kindOf('a Workqueue', (value) => value instanceof Workqueue),
  budget: kindOf('a RetryBudget of the same kernel', (value) => value instanceof RetryBudget),
  name: TEXT,
  context: oneOf("'none' or 'create'", 'none', 'create'),
});

/** Default number of attempts. */
const ATTEMPTS = 5;

/**
 * A function that is called until it succeeds, and the promise of its result.
 *
 * @remarks
 * The first attempt is scheduled by the constructor. Every attempt is called at the priority of the workqueue,
 * and with the lock. Between two attempts the lock is free.
 *
 * @example
 * ```ts
 * const loading = new Retry(() => load(url), { attempts: 8, backoff: { baseMs: 250 } });
 * console.log(loading.state, loading.attempt, loading.waitMs);
 * const page = await loading.result;
 * ```
 *
 * @public
 */
export class Retry<T> {
  static readonly #line: (handle: Retry<unknown>) => string = /* @__PURE__ */ defineInspect<
    Retry<unknown>
  >(
    this,
    ({ name, state, attempt }) => `Retry ${name || '(anonymous)'} { ${state}, attempt ${attempt} }`,
    ({ name, state, attempt }) => ({ name, state, attempt }),
  );
  /**
   * Fulfilled with the function's result. Rejected with the error of the last attempt, whose causes are
   * the errors of up to ten attempts before it; with the signal's reason, or KcontError ETIMEDOUT or
   * ESHUTDOWN; or with what `retryIf`, `onRetry` or `backoff` throws.
   */
  readonly result: Promise<T>;
  /** How often the function is called at most. */
  readonly attempts: number;
  readonly #func: RetryFunction<T>;
  readonly #name: string | undefined;
  readonly #kc: Kcont<Retry<T>>;
  readonly #backoff: BackoffFunction;
  readonly #retryIf: RetryOptions['retryIf'];
  readonly #onRetry: RetryOptions['onRetry'];
  readonly #signal: AbortSignal | undefined;
  readonly #budget: RetryBudget | undefined;
  readonly #deadlineMs: number;
  #deadline: Kcont<Retry<T>> | undefined = undefined;
  /** The errors of its attempts, if one has failed. */
  #errors: AttemptErrors | undefined = undefined;
  #resolve: (value: T) => void = nothing;
  #reject: (reason: unknown) => void = nothing;
  #state: RetryState = 'queued';
  #attempt = 0;
  #waitMs = NaN;
  /** Whether the current attempt has failed: what follows it is being decided. */
  #isOver = false;
  #aborted = false;
  #controller: AbortController | undefined = undefined;

  /**
   * Schedules the first attempt.
   *
   * @param func - called with a signal and the retry, if it declares a parameter. It may be asynchronous on
   * `prihigh` … `prilow`
   * @param options - optional settings
   * @throws KcontError EINVAL for an invalid argument or option, ESHUTDOWN if the kernel is closed; the reason
   * of a signal that is aborted
   */
  constructor(func: RetryFunction<T>, options?: RetryOptions) {
    try {
      checkFunction(func);
      const given = readOptions(options, RETRY);
      const { wq = processWorkqueues.prihigh, lock = null, context = 'none' } = given;
      checkBudget(given.budget, wq.kernel);
      this.attempts = given.attempts ?? ATTEMPTS;
      this.#func = func;
      this.#backoff = backoffOf(given.backoff);
      this.#retryIf = given.retryIf;
      this.#onRetry = given.onRetry;
      this.#signal = given.signal;
      this.#budget = given.budget;
      given.signal?.throwIfAborted();
      this.#name = given.name;
      const made = context === 'none' ? undefined : { context };
      this.#kc = makeOwn<Retry<T>>(QUIET | TASK, wq, lock, enter, this, made);
      const { deadlineMs } = given;
      this.#deadlineMs = deadlineMs === undefined ? Infinity : wq.kernel.now() + deadlineMs;
      try {
        scheduleOrThrow(this.#kc);
        if (deadlineMs !== undefined) this.#startDeadline(deadlineMs);
      } catch (error) {
        this.#kc.destroy();
        throw error;
      }
    } catch (error) {
      throw traceFrom(Retry, error);
    }
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#budget?._call();
    if (this.#signal !== undefined) join(this.#signal, this);
  }

  /** Its name in reports. */
  get name(): string {
    return this.#kc.name;
  }

  /**
   * The given name, or that of its function, which is read only for a report.
   * @internal
   */
  get _name(): string {
    return this.#name ?? functionName(this.#func);
  }

  /**
   * `'queued'`: before an attempt, also while it waits for the lock; `'running'`: during an attempt;
   * `'waiting'`: in backoff; `'fulfilled'` or `'rejected'`: it has ended.
   */
  get state(): RetryState {
    return this.#state === 'waiting' && this.#kc.invoking ? 'queued' : this.#state;
  }

  /** The number of the current or last attempt, from 1; 0 before the first. */
  get attempt(): number {
    return this.#attempt;
  }

  /** The current or last wait between two attempts, in ms; NaN before the first wait. */
  get waitMs(): number {
    return this.#waitMs;
  }

  /** The time of the next attempt, in ms on the clock of `kernel.now()`; NaN if it is not waiting. */
  get nextAttemptMs(): number {
    return this.#kc.deadline;
  }

  /** The errors of up to eleven attempts, the earliest first. */
  get errors(): readonly unknown[] {
    return this.#errors?.all ?? [];
  }

  /**
   * Ends the wait between two attempts: the next attempt is scheduled without a delay.
   *
   * @returns true: it was waiting; false: nothing changed
   */
  retryNow(): boolean {
    return this.#state === 'waiting' && this.#kc.pending && reset(this.#kc, 0, null) === 0;
  }

  /**
   * Ends the retry, as an abort of its signal does. No further attempt begins after it returns.
   *
   * @param reason - what {@link Retry.result} is rejected with. If an attempt is in flight, or `retryIf` or
   * `backoff` is being called for one, the result is that of this attempt instead. Default: a DOMException
   * `AbortError`
   * @returns true: an attempt is in flight, and the function's signal is aborted; false: no attempt is in flight, and
   * none will begin. If the deadline ended the retry during an attempt, that call of the function may still be running
   */
  stop(reason: unknown = new DOMException('The retry was stopped', 'AbortError')): boolean {
    this._abort(reason);
    return this.#state === 'running' && !this.#isOver;
  }

  /**
   * Called by `stop`, when the signal is aborted, and when the kernel closes.
   * @internal
   */
  _abort(reason: unknown): void {
    if (this.#state === 'running') {
      this.#aborted = true;
      this.#kc.stop();
      this.#controller?.abort(reason);
    } else this.#fail(reason);
  }

  /** @internal */
  _abandon(reason: unknown): void {
    this.#fail(reason);
  }

  /** @internal */
  _misused(error: unknown): void {
    countFailure(this.#kc, error);
    this.#fail(error);
  }

  /** @internal */
  _fulfilled(value: unknown): void {
    if (this.#end('fulfilled')) this.#resolve(value as T);
  }

  /** @internal */
  _rejected(error: unknown): void {
    this.#failed(error);
  }

  /**
   * Calls the function.
   * @internal
   */
  _enter(): undefined | Promise<T> {
    if (this.#state === 'waiting') this.#budget?._begin();
    this.#state = 'running';
    this.#isOver = false;
    this.#attempt++;
    const { wq } = this.#kc;
    let result: T | PromiseLike<T>;
    let then: Then | undefined;
    try {
      result = this.#call();
      then = thenOf(result);
    } catch (error) {
      countFailure(this.#kc, error);
      this.#failed(error);
      return undefined;
    }
    if (then === undefined) {
      this._fulfilled(result);
      return undefined;
    }
    if (wq.fast) {
      // Its result is ignored; the handlers avoid an unhandled rejection.
      whenDone(result, then, nothing, nothing);
      this._misused(asynchronous(this.name, wq.name));
      return undefined;
    }
    return adopt(result, then) as Promise<T>;
  }

  /** A signal costs more than the rest of an attempt, so only functions that declare it get one. */
  #call(): T | PromiseLike<T> {
    const func = this.#func;
    if (func.length === 0) return (func as () => T | PromiseLike<T>)();
    this.#controller ??= new AbortController();
    return func(this.#controller.signal, this);
  }

  /** An attempt has failed: the next one is scheduled, or the retry ends. */
  #failed(error: unknown): void {
    if (this.#state !== 'running') return;
    this.#isOver = true;
    (this.#errors ??= new AttemptErrors()).add(error);
    try {
      if (this.#mayRetry(error) && this.#wait(error)) return;
    } catch (thrown) {
      this.#fail(thrown);
      return;
    }
    if (this.#state === 'running' || this.#state === 'waiting') this.#errors.link();
    this.#fail(error);
  }

  #mayRetry(error: unknown): boolean {
    if (this.#aborted || this.#attempt >= this.attempts) return false;
    if (this.#retryIf === undefined) return true;
    const answer: unknown = this.#retryIf(error, this as Retry<unknown>);
    if (typeof answer === 'boolean') return answer && !this.#aborted;
    throw causedBy(invalid('the result of retryIf', 'a boolean', answer), error);
  }

  /** Schedules the next attempt. False: there will be none. */
  #wait(error: unknown): boolean {
    const waitMs = Math.max(this.#backoff(this.#attempt, error), retryAfterMsOf(error));
    const { kernel } = this.#kc.wq;
    if (this.#aborted || this.#state !== 'running') return false;
    // No timer can wait that long, and a shorter wait would start the attempt too early: so there is none.
    if (waitMs > Number.MAX_SAFE_INTEGER) return false;
    if (kernel.now() + waitMs >= this.#deadlineMs) return false;
    if (this.#budget?._grant() === false) return false;
    this.#state = 'waiting';
    this.#waitMs = waitMs;
    this.#onRetry?.(error, this as Retry<unknown>);
    // The handler may have ended it, which is not a failure of this attempt.
    if (this.#hasEnded) return true;
    return reset(this.#kc, waitMs, null) === 0;
  }

  get #hasEnded(): boolean {
    return this.#state === 'fulfilled' || this.#state === 'rejected';
  }

  #startDeadline(deadlineMs: number): void {
    const { wq } = this.#kc;
    const options = { name: `deadline of ${this.name || 'a retry'}` };
    const { softclock } = wq.kernel.wq;
    this.#deadline = makeOwn<Retry<T>>(LIMIT, softclock, null, deadline, this, options);
    scheduleOrThrow(this.#deadline, deadlineMs);
  }

  /**
   * Called when the deadline has passed.
   * @internal
   */
  _deadlinePassed(): void {
    const what = `${this.name || 'a retry'}: its deadline is over, in attempt ${this.#attempt}`;
    const error = new KcontError('ETIMEDOUT', what);
    this.#errors?.link();
    const last = this.#errors?.all.at(-1);
    this.#controller?.abort(error);
    this.#fail(last === undefined ? error : causedBy(error, last));
  }

  #fail(reason: unknown): void {
    if (this.#end('rejected')) this.#reject(reason);
  }

  /** False: it has ended before. */
  #end(state: RetryState): boolean {
    if (this.#hasEnded) return false;
    if (this.#state === 'waiting') this.#budget?._giveBack();
    this.#state = state;
    this.#kc.destroy();
    this.#deadline?.destroy();
    if (this.#signal !== undefined) leave(this.#signal, this);
    return true;
  }

  /** @internal */
  toString(): string {
    return Retry.#line(this as Retry<unknown>);
  }
}

function enter<T>(it: Retry<T>): undefined | Promise<T> {
  return it._enter();
}

function deadline<T>(it: Retry<T>): void {
  it._deadlinePassed();
}

/**
 * Calls a function until it succeeds, and returns its result.
 *
 * @remarks
 * {@link Retry} does the same, and its state can be read.
 *
 * @param func - called with a signal and the retry, if it declares a parameter. It may be asynchronous on
 * `prihigh` … `prilow`
 * @param options - optional settings
 * @returns a promise that settles as {@link Retry.result}. Also rejected with what the constructor of
 * {@link Retry} throws
 *
 * @example
 * ```ts
 * const user = await retry((signal) => fetchUser(id, { signal }), { attempts: 3, deadlineMs: 5000 });
 * ```
 *
 * @public
 */
export function retry<T>(func: RetryFunction<T>, options?: RetryOptions): Promise<T> {
  return start(func, options, retry);
}

function start<T>(
  func: RetryFunction<T>,
  options: RetryOptions | undefined,
  caller: Caller,
): Promise<T> {
  try {
    return new Retry(func, options).result;
  } catch (error) {
    return Promise.reject(traceFrom(caller, error));
  }
}
