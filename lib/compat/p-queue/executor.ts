/*
 * p-queue as the limiter of a workqueue. A function that p-queue starts is queued on the workqueue, and
 * holds its p-queue slot until it has settled. So p-queue limits concurrency and rate, and the
 * workqueue sets the priority.
 */

import { AsyncResource } from 'node:async_hooks';
import { join, leave, untilAborted, type AbortMember } from '../../base/abort-listeners.ts';
import { checkFunction, functionName, invalid, isA, traceFrom } from '../../base/errors.ts';
import { defineInspect } from '../../base/inspect.ts';
import {
  RUN_KINDS,
  checkTransfer,
  type RunFunction,
  type RunOptions,
} from '../../core/one-shot.ts';
import {
  ANYTHING,
  TEXT,
  kindOf,
  numberOf,
  optionsOf,
  readOptions,
} from '../../base/options-check.ts';
import { Workqueue, drainBy } from '../../core/workqueue.ts';
import { KcontPQueue, type KcontPQueueOptions } from './kcont-p-queue.ts';
import { CLEARED, WITHDRAWN, type Withdrawable } from './kcont-queue.ts';

/**
 * The limits of an executor: p-queue's options `concurrency`, `interval`, `intervalCap`, `strict`,
 * `carryoverIntervalCount`, `timeout` and `autoStart`.
 *
 * @public
 */
export type ExecutorOptions = KcontPQueueOptions;

/**
 * Options of `Executor.run`.
 *
 * @public
 */
export interface ExecutorRunOptions extends RunOptions {
  /** Its priority among the functions that wait in the executor, any number. Default 0. */
  priority?: number;
  /** An id for changing its priority: `executor.queue.setPriority(id, priority)`. */
  id?: string;
  /** The timeout of the run, in ms, instead of the executor's `timeout`. */
  timeout?: number;
}

const EXECUTOR = optionsOf<ExecutorRunOptions>(
  'Executor.run',
  {
    ...RUN_KINDS,
    priority: kindOf('a number', (value) => typeof value === 'number' && !Number.isNaN(value)),
    id: TEXT,
    timeout: numberOf('a number of ms >= 0', 0, Infinity),
  },
  // No defaults here: they are p-queue's.
  () => ({}),
);

/** Only the names are checked here; PQueue checks the values. */
const LIMITS = optionsOf<ExecutorOptions>(
  'createExecutor',
  {
    concurrency: ANYTHING,
    autoStart: ANYTHING,
    // Order matters: for a misspelled name, the first option with the same beginning is suggested.
    intervalCap: ANYTHING,
    interval: ANYTHING,
    carryoverIntervalCount: ANYTHING,
    carryoverConcurrencyCount: ANYTHING,
    strict: ANYTHING,
    timeout: ANYTHING,
  },
  // No defaults here: they are PQueue's.
  () => ({}),
);

/**
 * Runs functions on a workqueue, with limits of concurrency and rate.
 *
 * @remarks
 * Created by {@link createExecutor}. The limits are those of p-queue. Its other features are available
 * on `queue`: events, `setPriority`, `clear`, `onSizeLessThan`, `isRateLimited`, `runningTasks` and
 * others.
 *
 * @public
 */
export class Executor {
  /** The workqueue on which the functions run. */
  readonly wq: Workqueue;
  /** The queue that limits them. */
  readonly queue: KcontPQueue;

  private constructor(wq: Workqueue, options: ExecutorOptions) {
    this.wq = wq;
    this.queue = new KcontPQueue(options);
    const { tasks } = wq._dispatcher;
    this.queue._on('empty', () => void tasks.delete(this), false);
  }

  /**
   * Creates an executor. Called by `createExecutor`.
   * @internal
   */
  static _make(wq: Workqueue, options: ExecutorOptions): Executor {
    return new Executor(wq, options);
  }

  /**
   * Runs a function once when a slot is free, and returns its result.
   *
   * @param func - as for `Workqueue.run`; its signal is also aborted by the timeout
   * @param options - as for `Workqueue.run`, and priority, id and timeout; the function takes no slot
   * while it waits for its lock, and is queued after its delay
   * @returns the result of the function; rejected with its error, as `Workqueue.run` and PQueue do,
   * with p-queue's TimeoutError after the timeout, with KcontError ESHUTDOWN when the kernel is closed,
   * even while the executor is paused
   */
  run<T>(
    func: (signal: AbortSignal) => T | PromiseLike<T>,
    options?: ExecutorRunOptions,
  ): Promise<T>;
  /**
   * Runs a function with an argument once when a slot is free, and returns its result.
   *
   * @param func - as for `Workqueue.run`; a function of the CPU module may run on another CPU
   * @param options - as above, and the argument
   * @returns as above
   */
  run<A, T>(
    func: (arg: A, signal: AbortSignal) => T | PromiseLike<T>,
    options: ExecutorRunOptions & { arg: NoInfer<A> },
  ): Promise<T>;
  run<T>(func: RunFunction<T>, options: ExecutorRunOptions = {}): Promise<T> {
    const caller = Executor.prototype.run;
    try {
      const read = readOptions(options, EXECUTOR, caller);
      checkTransfer(read);
      checkFunction(func, 'func', caller);
      if (read.scope === undefined) return this.#start(func, read);
      return read.scope._run(read, functionName(func), (own) => this.#start(func, own));
    } catch (error) {
      return Promise.reject(traceFrom(caller, error));
    }
  }

  async #start<T>(func: RunFunction<T>, read: ExecutorRunOptions): Promise<T> {
    const { context, cpu, delayMs = 0, name, signal, arg, transfer, kill, scope, ...others } = read;
    const queueing = withoutUndefined(others);
    const hasArg = Object.hasOwn(read, 'arg');
    const resource = context === 'create' ? new AsyncResource('kcont.executor') : undefined;
    const call = resource === undefined ? func : callIn(resource, func, hasArg);
    if (delayMs !== 0) await this.#delay(delayMs, signal === undefined ? {} : { signal });
    signal?.throwIfAborted();
    const mayGiveUp =
      signal !== undefined || (queueing.timeout ?? this.queue.timeout) !== undefined;
    const controller = mayGiveUp ? new AbortController() : undefined;
    const job: RunOptions = {
      name: name ?? (functionName(func) || 'run'),
      ...withoutUndefined({ cpu, transfer, kill }),
    };
    if (hasArg) job.arg = arg;
    if (controller !== undefined) job.signal = controller.signal;
    return new Promise<T>((resolve, reject) => {
      // p-queue 9 adds a listener to the signal for each function, so each gets a signal of its own.
      const given = signal === undefined ? {} : { signal: controller?.signal };
      const aborted: AbortMember = { _abort: (reason) => controller?.abort(reason) };
      const ended = (): void => {
        if (signal !== undefined) leave(signal, aborted);
      };
      const withdrawn = (reason: unknown): void => {
        ended();
        if (reason !== CLEARED) reject(reason);
      };
      if (signal !== undefined) join(signal, aborted);
      const adding = { ...queueing, ...given, [WITHDRAWN]: withdrawn } as Partial<Withdrawable>;
      this.queue
        .add(() => {
          const running = this.wq.run(call as () => T, job);
          // p-queue rejects at once when aborted, even if the function goes on.
          const settled = scope?._hold();
          if (settled !== undefined) running.then(settled, settled);
          return running;
        }, adding)
        .then(
          (value) => {
            ended();
            resolve(value);
          },
          (reason: unknown) => {
            ended();
            // The rejection may be a timeout of p-queue, of which the function must be notified.
            controller?.abort(reason);
            reject(reason);
          },
        );
      if (this.queue.size > 0) this.wq._dispatcher.tasks.add(this);
    });
  }

  /**
   * Withdraws the waiting functions, even while paused, because the kernel is closed.
   * @internal
   */
  _abort(reason: unknown): void {
    this.queue._withdraw(reason);
  }

  /** Stops starting functions. Running functions continue. */
  pause(): void {
    this.queue.pause();
  }

  /** Starts functions after {@link Executor.pause} or `autoStart: false`. */
  start(): void {
    this.queue.start();
  }

  /**
   * Waits until no function waits or runs in this executor.
   *
   * @param options - `signal`: ends the wait
   * @returns a promise that is fulfilled then; rejected with the signal's reason, and with KcontError
   * EINVAL for an invalid option
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    const wait = (signal: AbortSignal | undefined): Promise<void> =>
      untilAborted(this.queue.onIdle(), signal);
    return drainBy(wait, options, Executor.prototype.drain);
  }

  #delay(delayMs: number, given: { signal?: AbortSignal }): Promise<void> {
    return this.wq.kernel.wq.softclock.run(() => undefined, { delayMs, ...given });
  }
}

defineInspect<Executor>(Executor, ({ wq, queue }) => `Executor on ${wq.name} ${queue._fill}`);

/**
 * Creates an executor that runs functions on a workqueue within limits.
 *
 * @remarks
 * p-queue uses the clock of the host. On a kernel with a VirtualClock, `interval` and `timeout` still
 * follow real time, or the time of fake timers.
 *
 * @param wq - the workqueue on which the functions run, which sets their priority
 * @param options - the limits, as for a PQueue
 * @returns an executor
 * @throws KcontError EINVAL for an invalid workqueue and for an option that PQueue does not have;
 * TypeError as PQueue does
 *
 * @example
 * ```ts
 * const api = createExecutor(wq.primedlow, { concurrency: 4, interval: 1000, intervalCap: 20 });
 * const user = await api.run((signal) => fetchUser(id, signal), { timeout: 5000 });
 * ```
 *
 * @public
 */
export function createExecutor(wq: Workqueue, options: ExecutorOptions = {}): Executor {
  let limits: ExecutorOptions;
  try {
    if (!isA(wq, Workqueue)) throw invalid('wq', 'a Workqueue', wq);
    limits = withoutUndefined(readOptions(options, LIMITS));
  } catch (error) {
    throw traceFrom(createExecutor, error);
  }
  return Executor._make(wq, limits);
}

/** Wraps a function so that it is called in a captured async context. */
function callIn<T>(resource: AsyncResource, func: RunFunction<T>, hasArg: boolean): RunFunction<T> {
  type Call = (...args: unknown[]) => T | PromiseLike<T>;
  const call = (...args: unknown[]): T | PromiseLike<T> =>
    resource.runInAsyncScope(func as Call, undefined, ...args);
  // The number of its parameters determines whether it is given a signal.
  return Object.defineProperty(call, 'length', { value: hasArg ? 2 : 1 });
}

/** Omits undefined options, because PQueue takes undefined for a value. */
function withoutUndefined<O extends object>(
  options: O,
): { [N in keyof O]: Exclude<O[N], undefined> } {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as never;
}
