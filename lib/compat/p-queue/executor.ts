/*
 * p-queue before a workqueue: what p-queue starts is queued on the workqueue, and its slot is taken
 * until that has settled. So p-queue says how many and how often, the workqueue at which priority.
 */

import { AsyncResource } from 'node:async_hooks';
import { join, leave, type AbortMember } from '../../base/abort-listeners.ts';
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
 * How a function is run once by an executor.
 *
 * @public
 */
export interface ExecutorRunOptions extends RunOptions {
  /** Its priority among those that wait in the executor, any number. Default 0. */
  priority?: number;
  /** By which its priority can be changed: `executor.queue.setPriority(id, priority)`. */
  id?: string;
  /** After how many ms its run is given up, in place of the executor's `timeout`. */
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
  // What is left out is left to p-queue.
  () => ({}),
);

/** PQueue looks at the values itself. */
const LIMITS = optionsOf<ExecutorOptions>(
  'createExecutor',
  {
    concurrency: ANYTHING,
    autoStart: ANYTHING,
    // The first that begins alike is suggested.
    intervalCap: ANYTHING,
    interval: ANYTHING,
    carryoverIntervalCount: ANYTHING,
    carryoverConcurrencyCount: ANYTHING,
    strict: ANYTHING,
    timeout: ANYTHING,
  },
  // What is left out is left to PQueue.
  () => ({}),
);

/**
 * Runs functions on a workqueue, no more and no more often than it is allowed to.
 *
 * @remarks
 * Made by {@link createExecutor}. The limits are p-queue's, of which `queue` has all the rest: events,
 * `setPriority`, `clear`, `onSizeLessThan`, `isRateLimited`, `runningTasks` and so on.
 *
 * @public
 */
export class Executor {
  /** Where the functions run. */
  readonly wq: Workqueue;
  /** What limits them. */
  readonly queue: KcontPQueue;

  private constructor(wq: Workqueue, options: ExecutorOptions) {
    this.wq = wq;
    this.queue = new KcontPQueue(options);
    const { tasks } = wq._dispatcher;
    this.queue._on('empty', () => void tasks.delete(this), false);
  }

  /**
   * How `createExecutor` makes one.
   * @internal
   */
  static _make(wq: Workqueue, options: ExecutorOptions): Executor {
    return new Executor(wq, options);
  }

  /**
   * Runs a function once when there is room, and returns its result.
   *
   * @param func - as for `Workqueue.run`; its signal is also aborted when the time is over
   * @param options - as for `Workqueue.run`, and priority, id and timeout; a lock is waited for
   * without taking a slot, and a delay is over before the function queues up
   * @returns what the function returns; rejected with what it throws, as `Workqueue.run` and PQueue
   * do, with p-queue's TimeoutError when the time is over, with KcontError ESHUTDOWN when the kernel is
   * closed, also while the executor is paused
   */
  run<T>(
    func: (signal: AbortSignal) => T | PromiseLike<T>,
    options?: ExecutorRunOptions,
  ): Promise<T>;
  /**
   * Runs a function with an argument once when there is room, and returns its result.
   *
   * @param func - as for `Workqueue.run`; a function of the CPU module may run on another CPU
   * @param options - the argument, and as for any other run
   * @returns as above
   */
  run<A, T>(
    func: (arg: A, signal: AbortSignal) => T | PromiseLike<T>,
    options: ExecutorRunOptions & { arg: NoInfer<A> },
  ): Promise<T>;
  async run<T>(func: RunFunction<T>, options: ExecutorRunOptions = {}): Promise<T> {
    const caller = Executor.prototype.run;
    const read = readOptions(options, EXECUTOR, caller);
    checkTransfer(read);
    const { context, cpu, delayMs = 0, name, signal, arg, transfer, kill, ...others } = read;
    const queueing = withoutUndefined(others);
    checkFunction(func, 'func', caller);
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
      // p-queue 9 listens to a signal once for each function: it gets one that no other has.
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
        .add(() => this.wq.run(call as () => T, job), adding)
        .then(
          (value) => {
            ended();
            resolve(value);
          },
          (reason: unknown) => {
            ended();
            // It may be p-queue that gives up, by a timeout.
            controller?.abort(reason);
            reject(reason);
          },
        );
      if (this.queue.size > 0) this.wq._dispatcher.tasks.add(this);
    });
  }

  /**
   * The kernel is closed: what waits is withdrawn, also while it is paused.
   * @internal
   */
  _abort(reason: unknown): void {
    this.queue._withdraw(reason);
  }

  /** Lets nothing more begin. */
  pause(): void {
    this.queue.pause();
  }

  /** Goes on after {@link Executor.pause}, or with `autoStart: false`. */
  start(): void {
    this.queue.start();
  }

  /**
   * Waits until nothing waits or runs here.
   *
   * @param options - a signal to give up waiting
   * @returns a promise, fulfilled then; rejected with the signal's reason, and with KcontError EINVAL for
   * an option that is not what it has to be
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    return drainBy(() => this.queue.onIdle(), options, Executor.prototype.drain);
  }

  #delay(delayMs: number, given: { signal?: AbortSignal }): Promise<void> {
    return this.wq.kernel.wq.softclock.run(() => undefined, { delayMs, ...given });
  }
}

defineInspect<Executor>(Executor, ({ wq, queue }) => `Executor on ${wq.name} ${queue._fill}`);

/**
 * Makes an executor that runs functions on a workqueue within limits.
 *
 * @remarks
 * p-queue counts time by the host's clock, whatever the kernel's: with a VirtualClock, `interval` and
 * `timeout` go by real time, or by that of fake timers.
 *
 * @param wq - where the functions run, and at which priority
 * @param options - the limits, as for a PQueue
 * @returns an executor
 * @throws KcontError EINVAL for a workqueue that is none, and for an option that PQueue does not have;
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

/** A function that is called in the context of the moment of its making, and takes what the other takes. */
function callIn<T>(resource: AsyncResource, func: RunFunction<T>, hasArg: boolean): RunFunction<T> {
  type Call = (...args: unknown[]) => T | PromiseLike<T>;
  const call = (...args: unknown[]): T | PromiseLike<T> =>
    resource.runInAsyncScope(func as Call, undefined, ...args);
  // By the number of its parameters it is known whether it wants a signal.
  return Object.defineProperty(call, 'length', { value: hasArg ? 2 : 1 });
}

/** What is left out is left to PQueue, which takes undefined for a value. */
function withoutUndefined<O extends object>(
  options: O,
): { [N in keyof O]: Exclude<O[N], undefined> } {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as never;
}
