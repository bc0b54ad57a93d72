import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import type { Cpu } from './cpu.ts';
import { adopt, thenOf, whenDone, type Then } from './invoke.ts';
import {
  asynchronous,
  checkFunction,
  functionName,
  invalid,
  traceFrom,
  type Caller,
} from '../base/errors.ts';
import type { Kcont } from './kcont.ts';
import { makeOwn } from './own-kcont.ts';
import type { Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import {
  ANYTHING,
  FLAG,
  GIVEN,
  MOVABLE,
  SIGNAL,
  TEXT,
  isObject,
  numberOf,
  oneOf,
  optionsOf,
  readOptions,
  type Kind,
} from '../base/options-check.ts';
import { makeDetails, makeExtras, type KcontOptions } from './options.ts';
import { scheduleOrThrow } from './schedule.ts';
import { QUIET, TASK } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { nothing } from '../base/nothing.ts';

/**
 * How a function is run once.
 *
 * @public
 */
export interface RunOptions {
  /** Held while the function runs. Default null: none. */
  lock?: Lock | null;
  /** Runs no earlier than this, in ms. Default 0: soon. */
  delayMs?: number;
  /** Where to run, on a workqueue with a queue per CPU. */
  cpu?: Cpu | null;
  /** Aborted before the function was entered: it never is. Aborted later: the function's signal is. */
  signal?: AbortSignal;
  /**
   * The function's argument: with it, the function is called with the argument and the signal. For
   * another CPU it is copied, as by `structuredClone`.
   */
  arg?: unknown;
  /**
   * What is moved to another CPU with the argument, not copied: this CPU has it no longer. Objects within
   * the argument; where the function runs on this CPU they stay as they are.
   */
  transfer?: readonly object[];
  /**
   * Runs on a thread that runs nothing else meanwhile, and ends with that thread when it is aborted,
   * whatever it does. For a function of the CPU module; `cpu` cannot be named. Default false.
   */
  kill?: boolean;
  /** Shown in reports; by default the function's name. */
  name?: string;
  /** Which AsyncLocalStorage stores the function sees. Default `'none'`. */
  context?: 'none' | 'create';
}

/**
 * What each option of a run has to be.
 *
 * @internal
 */
export const RUN_KINDS: { readonly [N in keyof RunOptions]-?: Kind } = {
  lock: LOCK,
  delayMs: numberOf('a finite number of ms from 0 to 2^53-1', 0, Number.MAX_SAFE_INTEGER),
  // Checked where it is scheduled.
  cpu: ANYTHING,
  signal: SIGNAL,
  arg: GIVEN,
  transfer: MOVABLE,
  kill: FLAG,
  name: TEXT,
  context: oneOf("'none' or 'create'", 'none', 'create'),
};

const RUN = optionsOf<RunOptions>('run', RUN_KINDS);

/**
 * Checks that what is moved with an argument can be within it.
 *
 * @internal
 */
export function checkTransfer({ arg, transfer = [] }: RunOptions): void {
  if (transfer.length > 0 && !isObject(arg)) {
    throw invalid('transfer', 'empty for an argument that is no object', transfer);
  }
}

/**
 * A function that is run once: it gets the argument, if there is one, and the signal.
 *
 * @internal
 */
export type RunFunction<T> = (...args: never[]) => T | PromiseLike<T>;

/**
 * By which somebody waits for a result: a shutdown tells it that there will be none. It is the
 * argument of a continuation whose state has the bit TASK, or is known to the dispatcher.
 *
 * @internal
 */
export interface Task extends AbortMember {
  /** What it is called in reports, if not as its continuation's function. */
  readonly _name?: string;
  /** There will be no result. Called when what was scheduled has been withdrawn, or during the run. */
  _abort(reason: unknown): void;
  /** The asynchronous run has settled, and its lock is free. */
  _fulfilled?(value: unknown): void;
  _rejected?(error: unknown): void;
  /** Nobody waits any longer: it was aborted during its run, which goes on. */
  _abandon?(reason: unknown): void;
  /** Its function may not be asynchronous here, and is: the run goes on, and there will be no result. */
  _misused?(error: unknown): void;
}

/**
 * A function that runs once, and the promise of its result.
 *
 * @internal
 */
export class Job<T> implements Task {
  readonly #func: RunFunction<T>;
  readonly #arg: unknown;
  readonly #hasArg: boolean;
  readonly #resolve: (value: T | PromiseLike<T>) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #kc: Kcont<Job<T>>;
  #controller: AbortController | undefined = undefined;

  constructor(
    wq: Workqueue,
    func: RunFunction<T>,
    options: RunOptions,
    resolve: (value: T | PromiseLike<T>) => void,
    reject: (reason: unknown) => void,
  ) {
    const { lock = null, delayMs = 0, cpu = null, signal, name, context = 'none' } = options;
    this.#func = func;
    this.#hasArg = Object.hasOwn(options, 'arg');
    this.#arg = this.#hasArg ? options.arg : undefined;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#signal = signal;
    const extras = context === 'none' ? null : makeExtras('none', 0, context);
    const details = makeDetails((name ?? functionName(func)) || undefined, undefined, extras);
    const made = (details ?? undefined) as KcontOptions | undefined;
    this.#kc = makeOwn<Job<T>>(QUIET | TASK, wq, lock, run, this, made);
    try {
      signal?.throwIfAborted();
      scheduleOrThrow(this.#kc, delayMs, cpu);
    } catch (error) {
      this.#kc.destroy();
      throw error;
    }
    if (signal !== undefined) join(signal, this);
  }

  /** Before the function is entered: it never is. Later: its signal is aborted. */
  _abort(reason: unknown): void {
    if (this.#kc.running) this.#controller?.abort(reason);
    else {
      this.#finish();
      this.#reject(reason);
    }
  }

  _abandon(reason: unknown): void {
    this.#reject(reason);
  }

  _misused(error: unknown): void {
    this.#kc.wq._failed++;
    this.#reject(error);
  }

  enter(): undefined | Promise<T> {
    let result: T | PromiseLike<T>;
    let then: Then | undefined;
    try {
      result = this.#hasArg
        ? call(this.#func, this.#arg, this.#signalFor(this.#func, 1))
        : call(this.#func, this.#signalFor(this.#func, 0));
      then = thenOf(result);
    } catch (error) {
      this.#kc.wq._failed++;
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
      // What becomes of it is nobody's any more.
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

  /** A signal costs more than all the rest of a run: made for functions that take one. */
  #signalFor(func: RunFunction<T>, parameters: number): AbortSignal {
    if (func.length <= parameters) return undefined as unknown as AbortSignal;
    this.#controller = new AbortController();
    return this.#controller.signal;
  }

  #finish(): void {
    this.#kc.destroy();
    if (this.#signal !== undefined) leave(this.#signal, this);
  }
}

function call<T>(func: RunFunction<T>, ...args: unknown[]): T | PromiseLike<T> {
  return func(...(args as never[]));
}

function run<T>(job: Job<T>): void | PromiseLike<void> {
  return job.enter() as PromiseLike<void> | undefined;
}

/**
 * Runs a function once at a workqueue's priority.
 *
 * @internal
 */
export function runOnce<T>(
  wq: Workqueue,
  func: RunFunction<T>,
  given: RunOptions | undefined,
  caller: Caller,
): Promise<T> {
  try {
    checkFunction(func);
    const options = readOptions(given, RUN);
    if (options.transfer !== undefined) checkTransfer(options);
    const { cpuLink } = wq._dispatcher;
    const remote = cpuLink === null ? null : cpuLink.run(wq, func, options);
    if (remote !== null) return remote as Promise<T>;
    return new Promise<T>((resolve, reject) => {
      try {
        // The job reaches whoever needs it through its continuation.
        void new Job(wq, func, options, resolve, reject);
      } catch (error) {
        // The reason of a signal is somebody else's.
        reject(error === options.signal?.reason ? error : traceFrom(caller, error));
      }
    });
  } catch (error) {
    return Promise.reject(traceFrom(caller, error));
  }
}
