import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import type { Cpu } from './cpu.ts';
import type { Awaited } from './awaited.ts';
import { beginAwait, endAwait } from './begin-await.ts';
import { hasInherited } from './inheritance.ts';
import { adopt, countFailure, thenOf, whenDone, type Then } from './invoke.ts';
import {
  asynchronous,
  checkFunction,
  functionName,
  invalid,
  isMistake,
  traceFrom,
  type Caller,
} from '../base/errors.ts';
import type { Kcont } from './kcont.ts';
import { makeOwn } from './own-kcont.ts';
import { unlink } from '../base/list.ts';
import type { Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import {
  ANYTHING,
  FINITE_MS,
  FLAG,
  GIVEN,
  MOVABLE,
  SIGNAL,
  TEXT,
  isObject,
  oneOf,
  optionsOf,
  readOptions,
  type Kind,
} from '../base/options-check.ts';
import { SCOPE } from './options.ts';
import { scheduleOrThrow } from './schedule.ts';
import type { Scope } from './scope.ts';
import { QUIET, TASK } from './state.ts';
import type { Arrival } from './shedder.ts';
import type { Workqueue } from './workqueue.ts';
import { handled, nothing } from '../base/nothing.ts';

/**
 * Optional settings of a run of {@link Workqueue}.
 *
 * @public
 */
export interface RunOptions {
  /** Held while the function runs. Default null: no lock. */
  lock?: Lock | null;
  /** Delay before the function runs, in ms. Default 0: no delay. */
  delayMs?: number;
  /** The CPU to run on, for a workqueue with a queue per CPU. */
  cpu?: Cpu | null;
  /**
   * If aborted before the function is entered, the function never runs. If aborted during the run,
   * the function's signal is aborted.
   */
  signal?: AbortSignal;
  /**
   * The function's argument. If given, the function is called with the argument and the signal. On its
   * way to another CPU it is copied as by `structuredClone`.
   */
  arg?: unknown;
  /**
   * Objects within the argument that are moved to another CPU instead of copied, so that this CPU can
   * no longer use them. They are left unchanged if the function runs on this CPU.
   */
  transfer?: readonly object[];
  /**
   * Runs on a thread of its own, which is terminated when the run is aborted, whatever the function is
   * doing. For functions of the CPU module; cannot be combined with `cpu` or `lock`. Default false.
   */
  kill?: boolean;
  /** Shown in reports; by default the function's name. */
  name?: string;
  /** Which AsyncLocalStorage stores the function sees. Default `'none'`. */
  context?: 'none' | 'create';
  /** The scope that it is a part of: it is aborted when the scope ends, and `join` waits for it. */
  scope?: Scope;
}

/**
 * The checks of each option of a run.
 *
 * @internal
 */
export const RUN_KINDS: { readonly [N in keyof RunOptions]-?: Kind } = {
  lock: LOCK,
  delayMs: FINITE_MS,
  // Checked by `schedule`.
  cpu: ANYTHING,
  signal: SIGNAL,
  arg: GIVEN,
  transfer: MOVABLE,
  kill: FLAG,
  name: TEXT,
  context: oneOf("'none' or 'create'", 'none', 'create'),
  scope: SCOPE,
};

const RUN = optionsOf<RunOptions>('run', RUN_KINDS);

/**
 * Checks that an argument with a transfer list is an object.
 *
 * @internal
 */
export function checkTransfer({ arg, transfer = [] }: RunOptions): void {
  if (transfer.length > 0 && !isObject(arg)) {
    throw invalid('transfer', 'empty for an argument that is not an object', transfer);
  }
}

/**
 * A function that is run once. It gets the argument, if there is one, and the signal.
 *
 * @internal
 */
export type RunFunction<T> = (...args: never[]) => T | PromiseLike<T>;

/**
 * Something that waits for a result, and which a shutdown tells that there will be no result. It is
 * the argument of a continuation whose state has the bit TASK, or is known to the dispatcher.
 *
 * @internal
 */
export interface Task extends AbortMember {
  /** Its name in reports, if different from the name of its continuation's function. */
  readonly _name?: string | undefined;
  /** The scope that it is a part of. */
  readonly _scope?: Scope | undefined;
  /** What is known of the run that awaits it. */
  readonly _awaited?: Awaited | null;
  /** There will be no result. Called after the scheduled run was withdrawn, or during the run. */
  _abort(reason: unknown): void;
  /** The asynchronous run has settled, and its lock has been released. */
  _fulfilled?(value: unknown): void;
  _rejected?(error: unknown): void;
  /** It was aborted during its run: the run continues, but nothing waits for its result. */
  _abandon?(reason: unknown): void;
  /** Its function returned a promise where it must not: the run continues, without a result. */
  _misused?(error: unknown): void;
}

/**
 * A function that runs once, and the promise of its result.
 *
 * @internal
 */
export class Job<T> implements Task {
  readonly #func: RunFunction<T>;
  readonly #options: RunOptions;
  readonly #resolve: (value: T | PromiseLike<T>) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #kc: Kcont<Job<T>>;
  /** Its place among the runs that wait, on a workqueue that refuses runs because of load. */
  #arrival: Arrival | null = null;
  _awaited: Awaited | null = null;
  #controller: AbortController | undefined = undefined;

  constructor(
    wq: Workqueue,
    func: RunFunction<T>,
    options: RunOptions,
    resolve: (value: T | PromiseLike<T>) => void,
    reject: (reason: unknown) => void,
  ) {
    const { lock = null, delayMs = 0, cpu = null, signal, context = 'none' } = options;
    this.#func = func;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    const made = context === 'none' ? undefined : { context };
    this.#kc = makeOwn<Job<T>>(QUIET | TASK, wq, lock, run, this, made);
    try {
      signal?.throwIfAborted();
      const backlog = delayMs === 0 ? wq._backlog : null;
      const arrival = backlog?.admit() ?? null;
      scheduleOrThrow(this.#kc, delayMs, cpu);
      if (arrival !== null) backlog?.add((this.#arrival = arrival));
      this._awaited = beginAwait(this.#kc);
    } catch (error) {
      this.#kc.destroy();
      throw error;
    }
    if (signal !== undefined) join(signal, this);
  }

  /** The given name, or that of its function, which is read only for a report. */
  get _name(): string | undefined {
    return (this.#options.name ?? functionName(this.#func)) || undefined;
  }

  get _scope(): Scope | undefined {
    return this.#options.scope;
  }

  /** Before the function is entered, this withdraws the run; later, it aborts the run's signal. */
  _abort(reason: unknown): void {
    if (this.#kc.running) {
      this.#kc.stop();
      this.#controller?.abort(reason);
    } else {
      this.#finish();
      this.#reject(reason);
    }
  }

  _abandon(reason: unknown): void {
    this.#reject(reason);
  }

  _misused(error: unknown): void {
    countFailure(this.#kc, error);
    this.#reject(error);
  }

  enter(): undefined | Promise<T> {
    let result: T | PromiseLike<T>;
    let then: Then | undefined;
    if (this.#arrival !== null) {
      // One that goes first because of what it has inherited says nothing of those before it.
      if (hasInherited(this.#kc)) unlink(this.#arrival);
      else this.#kc.wq._backlog?.entered(this.#arrival);
    }
    try {
      const func = this.#func;
      const options = this.#options;
      result = Object.hasOwn(options, 'arg')
        ? call(func, options.arg, this.#signalFor(func, 1))
        : call(func, this.#signalFor(func, 0));
      then = thenOf(result);
    } catch (error) {
      countFailure(this.#kc, error);
      this.#finish();
      this.#reject(error);
      return undefined;
    }
    if (then === undefined) {
      this.#finish();
      this.#resolve(result);
      return undefined;
    }
    if (this.#kc.wq.fast) {
      // Its result is ignored; the handlers avoid an unhandled rejection.
      whenDone(result, then, nothing, nothing);
      this.#finish();
      this.#reject(asynchronous(this.#kc.name, this.#kc.wq.name));
      return undefined;
    }
    return adopt(result, then) as Promise<T>;
  }

  _fulfilled(value: unknown): void {
    this.#finish();
    this.#resolve(value as T);
  }

  _rejected(error: unknown): void {
    this.#finish();
    this.#reject(error);
  }

  /** A signal costs more than the rest of a run, so only functions that declare it get one. */
  #signalFor(func: RunFunction<T>, parameters: number): AbortSignal {
    if (func.length <= parameters) return undefined as unknown as AbortSignal;
    this.#controller = new AbortController();
    return this.#controller.signal;
  }

  #finish(): void {
    this.#kc.destroy();
    if (this._awaited !== null) endAwait(this._awaited);
    if (this.#arrival !== null) unlink(this.#arrival);
    const { signal } = this.#options;
    if (signal !== undefined) leave(signal, this);
  }
}

function call<T>(func: RunFunction<T>, ...args: unknown[]): T | PromiseLike<T> {
  return func(...(args as never[]));
}

function run<T>(job: Job<T>): void | PromiseLike<void> {
  return job.enter() as PromiseLike<void> | undefined;
}

/** The functions of the promise that was made last. */
interface Captured<T> {
  resolve: (value: T | PromiseLike<T>) => void;
  reject: (reason: unknown) => void;
}
const captured: Captured<unknown> = { resolve: nothing, reject: nothing };

/** An executor that needs no closure for each promise. */
function capture(resolve: Captured<unknown>['resolve'], reject: Captured<unknown>['reject']): void {
  captured.resolve = resolve;
  captured.reject = reject;
}

/**
 * Runs a function once at a workqueue's priority.
 *
 * @param scope - the scope whose `run` was called
 *
 * @internal
 */
export function runOnce<T>(
  wq: Workqueue,
  func: RunFunction<T>,
  given: RunOptions | undefined,
  caller: Caller,
  scope?: Scope,
): Promise<T> {
  let signal: AbortSignal | undefined;
  let within: Scope | undefined;
  try {
    checkFunction(func);
    const options = readOptions(given, RUN);
    if (options.transfer !== undefined) checkTransfer(options);
    if (scope !== undefined && options.scope !== undefined) {
      throw invalid('scope', 'omitted in run of a scope', options.scope);
    }
    ({ signal } = options);
    within = scope ?? options.scope;
    if (within === undefined) return start(wq, func, options);
    return within._run(options, functionName(func), (own) => start(wq, func, own));
  } catch (error) {
    // The reason of a signal is the caller's object: its stack is left alone.
    const isReason = signal?.aborted === true && error === signal.reason;
    const refused = Promise.reject(isReason ? error : traceFrom(caller, error));
    // A refusal that is an outcome of the scope is in its join, too.
    return within === undefined || isMistake(error) ? refused : handled(refused);
  }
}

/** Runs a function with checked options. Throws if it cannot be scheduled. */
function start<T>(wq: Workqueue, func: RunFunction<T>, options: RunOptions): Promise<T> {
  const { cpuLink } = wq._dispatcher;
  const remote = cpuLink === null ? null : cpuLink.run(wq, func, options);
  if (remote !== null) return remote as Promise<T>;
  const promise = new Promise<T>(capture as (resolve: unknown, reject: unknown) => void);
  const { resolve, reject } = captured as Captured<T>;
  // Otherwise they would keep the last result alive.
  captured.resolve = nothing;
  captured.reject = nothing;
  // Its continuation refers to the job, so no variable is needed.
  void new Job(wq, func, options, resolve, reject);
  return promise;
}
