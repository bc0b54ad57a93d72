/**
 * Prioritized Task Scheduling, built on continuations: `scheduler.postTask`, `scheduler.yield`.
 *
 * @packageDocumentation
 */

/*
 *                    tasks   continuations (yield)
 *   user-blocking     127      128
 *   user-visible      119      120              priorities of workqueues
 *   background        103      104
 *
 * Each task is a continuation on the workqueue of its level. All of them take one lock, the gate. It
 * is released not when the task's function returns but when all microtasks have run. So microtasks run
 * before the next task is chosen, and the tasks and continuations that they post are considered.
 * Releasing the gate in the next microtask would be too early, since a pass continues for several
 * rounds of microtasks. As a result, one task runs per turn of the event loop, with I/O in between.
 *
 * A task whose priority changes moves to another workqueue. Its position there depends on when it was
 * posted, so the tasks that were posted after it are rescheduled behind it.
 *
 * Tasks and continuations inherit from the task that posts them by AsyncLocalStorage.
 *
 * Source: WICG Prioritized Task Scheduling, 30 May 2025.
 */

import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { join, leave } from '../../base/abort-listeners.ts';
import { afterMicrotasks } from '../../time/host-clock.ts';
import { adopt, awaits, thenOf } from '../../core/invoke.ts';
import { functionName, invalid, isA, traceFrom } from '../../base/errors.ts';
import { defineInspect } from '../../base/inspect.ts';
import { PATIENCE, optionsOf, readOptions } from '../../base/options-check.ts';
import type { Task as Awaited } from '../../core/one-shot.ts';
import type { Kcont } from '../../core/kcont.ts';
import { makeOwn, outlastGrace } from '../../core/own-kcont.ts';
import { Kernel, kernel as processKernel } from '../../core/kernel.ts';
import { Mutex } from '../../locks/mutex.ts';
import { PRI_PRIHIGH, PRI_PRILOW, PRI_PRIMEDHIGH } from '../../base/priorities.ts';
import { resetOrThrow, scheduleOrThrow } from '../../core/schedule.ts';
import { TASK } from '../../core/state.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import {
  TASK_PRIORITIES,
  TaskSignal,
  follow,
  hasFixedPriority,
  unfollow,
  type PriorityFollower,
  type TaskPriority,
} from './task-signal.ts';
import { toCallback, toCount, toDictionary, toEnum, toSignal } from '../web-idl.ts';

export {
  TaskController,
  TaskPriorityChangeEvent,
  TaskSignal,
  type TaskControllerInit,
  type TaskPriority,
  type TaskPriorityChangeEventInit,
  type TaskSignalAnyInit,
} from './task-signal.ts';

/**
 * The function of a task.
 *
 * @public
 */
export type SchedulerPostTaskCallback<T> = () => T | PromiseLike<T>;

/**
 * Options of {@link Scheduler.postTask}.
 *
 * @public
 */
export interface SchedulerPostTaskOptions {
  /** If aborted before the task runs, it never runs. A {@link TaskSignal} also sets the priority. */
  signal?: AbortSignal;
  /** The priority; overrides that of the signal. Default: that of the signal, or `'user-visible'`. */
  priority?: TaskPriority;
  /** Minimum delay before the task runs, in ms, an integer 0 … 2^53−1. Default 0. */
  delay?: number;
}

/**
 * Options of {@link createScheduler}.
 *
 * @public
 */
export interface SchedulerOptions {
  /**
   * How long continuations of higher priority may keep a task waiting, in ms, before one task of its
   * priority runs nevertheless. 0 or more. Default Infinity: the strict order of the specification.
   */
  patienceMs?: number;
}

const SCHEDULER = optionsOf<SchedulerOptions>('createScheduler', { patienceMs: PATIENCE });

/** The workqueue priority of each level. Each priority has two: for tasks, then for continuations. */
const LEVELS: readonly number[] = [PRI_PRILOW, PRI_PRIMEDHIGH, PRI_PRIHIGH].flatMap((priority) => [
  priority,
  priority + 1,
]);

/** The sources of the abort and the priority of a task and its continuations. */
interface SchedulingState {
  readonly abortSource: AbortSignal | null;
  readonly prioritySource: TaskSignal | TaskPriority;
}

const DEFAULT_STATE: SchedulingState = { abortSource: null, prioritySource: 'user-visible' };

/** The queued tasks of all schedulers of a kernel: a queue per level, in the order of posting. */
class PriorityQueues implements PriorityFollower {
  readonly gate: Mutex = new Mutex();
  readonly #kernel: Kernel;
  readonly #levels: readonly Set<Task>[] = LEVELS.map(() => new Set());
  readonly #bySignal = new Map<TaskSignal, Set<Task>>();
  #posted = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  add(task: Task): void {
    task.order = ++this.#posted;
    task.level = levelOf(task);
    const { signal } = task;
    this.#level(task).add(task);
    if (signal === null) return;
    let tasks = this.#bySignal.get(signal);
    if (tasks === undefined) {
      tasks = new Set();
      this.#bySignal.set(signal, tasks);
      follow(signal, this);
    }
    tasks.add(task);
  }

  remove(task: Task): void {
    const { signal } = task;
    this.#level(task).delete(task);
    if (signal === null) return;
    const tasks = this.#bySignal.get(signal);
    tasks?.delete(task);
    if (tasks?.size !== 0) return;
    this.#bySignal.delete(signal);
    unfollow(signal, this);
  }

  /** Moves the tasks of a signal to the queues of its new priority. */
  priorityChanged(signal: TaskSignal): void {
    // A closed kernel finishes its queued work in the existing order.
    if (this.#kernel.wq.softclock._dispatcher.closed) return;
    const tasks = [...(this.#bySignal.get(signal) as Set<Task>)];
    for (const isContinuation of [false, true]) {
      const moved = tasks.filter((task) => task.isContinuation === isContinuation);
      if (moved.length > 0) this.#move(moved);
    }
  }

  /** Number of queued tasks of all levels. */
  get size(): number {
    return this.#levels.reduce((sum, { size }) => sum + size, 0);
  }

  #move(moved: readonly Task[]): void {
    for (const task of moved) {
      this.#level(task).delete(task);
      task.level = levelOf(task);
    }
    const first = moved[0] as Task;
    const level = this.#level(first);
    const younger = Array.from(level).filter(({ order }) => order > first.order);
    for (const task of younger) level.delete(task);
    for (const task of [...moved, ...younger].toSorted((a, b) => a.order - b.order)) {
      level.add(task);
      task.schedule();
    }
  }

  #level({ level }: Task): Set<Task> {
    return this.#levels[level] as Set<Task>;
  }
}

const priorityQueues = new WeakMap<Kernel, PriorityQueues>();

function priorityQueuesOf(kernel: Kernel): PriorityQueues {
  let those = priorityQueues.get(kernel);
  if (those === undefined) priorityQueues.set(kernel, (those = new PriorityQueues(kernel)));
  return those;
}

function levelOf({ isContinuation, prioritySource }: Task): number {
  const priority = typeof prioritySource === 'string' ? prioritySource : prioritySource.priority;
  return TASK_PRIORITIES.indexOf(priority) * 2 + (isContinuation ? 1 : 0);
}

/** A task that was posted, or the continuation of a task that yields. */
class Task implements Awaited {
  order = 0;
  level = 0;
  readonly isContinuation: boolean;
  readonly prioritySource: TaskSignal | TaskPriority;
  /** The source of the priority, if the priority may change; else null. */
  readonly signal: TaskSignal | null;
  readonly #name: string;
  readonly #abortSource: AbortSignal | null;
  readonly #priorityQueues: PriorityQueues;
  readonly #queues: LevelWorkqueues;
  readonly #steps: () => void | Promise<void>;
  readonly #reject: (reason: unknown) => void;
  #kc: Kcont<Task> | null = null;
  #queued = false;

  constructor(
    name: string,
    isContinuation: boolean,
    { abortSource, prioritySource }: SchedulingState,
    queues: LevelWorkqueues,
    steps: () => void | Promise<void>,
    reject: (reason: unknown) => void,
  ) {
    this.#name = name;
    this.isContinuation = isContinuation;
    const fixed = typeof prioritySource === 'string' || hasFixedPriority(prioritySource);
    this.prioritySource = prioritySource;
    this.signal = fixed ? null : prioritySource;
    this.#abortSource = abortSource;
    this.#queues = queues;
    this.#priorityQueues = priorityQueuesOf(queues.kernel);
    this.#steps = steps;
    this.#reject = reject;
  }

  /** LevelWorkqueues the task, at once or after a delay. */
  begin(delayMs: number): void {
    if (delayMs === 0) this.#enqueue();
    else {
      const { softclock } = this.#queues.kernel.wq;
      const options = { name: this.#name };
      this.#kc = makeOwn<Task>(TASK, softclock, null, Task.#due, this, options);
      scheduleOrThrow(this.#kc, delayMs);
    }
    if (this.#abortSource !== null) join(this.#abortSource, this);
  }

  /** Appends it to the run queue of its level. */
  schedule(): void {
    const wq = this.#queues.at(this.level);
    if (this.#kc?.wq !== wq) {
      this.#kc?.destroy();
      const options = { name: this.#name };
      this.#kc = makeOwn<Task>(TASK, wq, this.#priorityQueues.gate, Task.#run, this, options);
    }
    // While the kernel closes, tasks in flight may still yield.
    if (this.isContinuation && awaits(wq._dispatcher)) outlastGrace(this.#kc);
    resetOrThrow(this.#kc);
  }

  #enqueue(): void {
    this.#priorityQueues.add(this);
    this.#queued = true;
    try {
      this.schedule();
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  #leave(): void {
    if (this.#queued) this.#priorityQueues.remove(this);
    this.#queued = false;
    this.#kc?.destroy();
  }

  /** Rejects the task's promise. The task is withdrawn unless it has begun. */
  _abort(reason: unknown): void {
    this.#reject(reason);
    this.#leave();
    this.#complete();
  }

  #complete(): void {
    if (this.#abortSource !== null) leave(this.#abortSource, this);
  }

  static #due(task: Task): void {
    try {
      task.#enqueue();
    } catch (error) {
      task.#complete();
      task.#reject(error);
    }
  }

  static #run(task: Task, kc: Kcont<Task>): void | Promise<void> {
    const gate = kc.setLock(null) as Mutex;
    afterMicrotasks(() => gate.exit());
    task.#leave();
    const running = task.#steps();
    task.#complete();
    // Returned so that draining and closing the kernel wait until the promise has settled.
    return running;
  }
}

/** The workqueues of a scheduler, each acquired on first use. */
class LevelWorkqueues {
  readonly kernel: Kernel;
  readonly #patienceMs: number;
  readonly #queues: (Workqueue | undefined)[] = LEVELS.map(() => undefined);

  constructor(kernel: Kernel, patienceMs: number) {
    this.kernel = kernel;
    this.#patienceMs = patienceMs;
  }

  at(level: number): Workqueue {
    return (this.#queues[level] ??= this.kernel.acquire(LEVELS[level] as number, {
      patienceMs: this.#patienceMs,
    }));
  }
}

/** Captures the async context. 100 times cheaper than AsyncLocalStorage.snapshot on Node 20. */
function hereAndNow(): AsyncResource {
  return new AsyncResource('kcont.postTask', { requireManualDestroy: true });
}

/** The scheduler and state of the current task, and those of enclosing tasks of other schedulers. */
interface Current {
  readonly queues: LevelWorkqueues;
  readonly state: SchedulingState;
  readonly outer: Current | undefined;
}

/**
 * Shared by all schedulers: on Node 20 every AsyncLocalStorage that was ever used permanently slows
 * down each promise of the process.
 */
const current = new AsyncLocalStorage<Current>();

/** Returns the chain of current tasks without that of one scheduler. Each scheduler has at most one. */
function withoutOne(from: Current | undefined, queues: LevelWorkqueues): Current | undefined {
  if (from === undefined) return undefined;
  const outer = withoutOne(from.outer, queues);
  if (from.queues === queues) return outer;
  return outer === from.outer ? from : { ...from, outer };
}

function currentOf(queues: LevelWorkqueues): SchedulingState | undefined {
  let at = current.getStore();
  while (at !== undefined && at.queues !== queues) at = at.outer;
  return at?.state;
}

const MINE: unique symbol = Symbol('scheduler');

/**
 * Schedules tasks by priority.
 *
 * @remarks
 * Created by {@link createScheduler}; {@link scheduler} is the one of the process-wide kernel.
 *
 * @public
 */
export class Scheduler {
  readonly #queues: LevelWorkqueues;

  private constructor(mine: typeof MINE, queues: LevelWorkqueues) {
    if (mine !== MINE) throw new TypeError('Illegal constructor');
    this.#queues = queues;
  }

  /**
   * Creates a scheduler. Called by `createScheduler`.
   * @internal
   */
  static _make(kernel: Kernel, patienceMs: number): Scheduler {
    return new Scheduler(MINE, new LevelWorkqueues(kernel, patienceMs));
  }

  /**
   * Posts a task.
   *
   * @remarks
   * The task of the highest priority runs first; among equals, the one that was posted first. All
   * microtasks of a task run before the next task is chosen.
   *
   * @param callback - called without arguments, in the AsyncLocalStorage context of the caller
   * @param options - optional settings
   * @returns the result of the callback; rejected with its error, with the signal's reason if that is
   * aborted before the callback has returned, with TypeError for an invalid argument, with KcontError
   * ESHUTDOWN if the kernel is closed before the task has settled
   */
  postTask<T>(
    callback: SchedulerPostTaskCallback<T>,
    options?: SchedulerPostTaskOptions,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      toCallback(callback, 'callback');
      const { delay, priority, signal } = toDictionary(options, 'options');
      const delayMs = delay === undefined ? 0 : toCount(delay, 'delay');
      const own =
        priority === undefined ? undefined : toEnum(priority, TASK_PRIORITIES, 'priority');
      const abortSource = signal === undefined ? null : toSignal(signal, 'signal');
      abortSource?.throwIfAborted();
      const state: SchedulingState = {
        abortSource,
        prioritySource:
          own ?? (abortSource instanceof TaskSignal ? abortSource : DEFAULT_STATE.prioritySource),
      };
      const queues = this.#queues;
      const outer = withoutOne(current.getStore(), queues);
      const context = current.run({ queues, state, outer }, hereAndNow);
      const steps = (): void | Promise<void> => {
        try {
          const result = context.runInAsyncScope(callback);
          const then = thenOf(result);
          // `resolve(result)` would lock the promise in, and a shutdown could not reject it any more.
          if (then !== undefined) {
            return adopt(result, then).then(resolve as (value: unknown) => void, reject);
          }
          resolve(result);
        } catch (error) {
          reject(error);
        }
        return undefined;
      };
      const name = functionName(callback) || 'postTask';
      new Task(name, false, state, queues, steps, reject).begin(delayMs);
    });
  }

  /**
   * Yields to other work. The calling task continues at its priority, before tasks of that priority
   * that have not begun.
   *
   * @returns a promise that is fulfilled when the task may continue; rejected with the reason of the
   * task's signal if that is aborted first, and with KcontError ESHUTDOWN if the kernel is closed.
   * During the grace period of `close`, a task in flight may still yield
   *
   * @example
   * ```ts
   * for (const row of rows) {
   *   index(row);
   *   await scheduler.yield();
   * }
   * ```
   */
  yield(): Promise<void> {
    return new Promise((resolve, reject) => {
      const state = currentOf(this.#queues) ?? DEFAULT_STATE;
      state.abortSource?.throwIfAborted();
      new Task('yield', true, state, this.#queues, resolve, reject).begin(0);
    });
  }

  /** `Scheduler`. */
  get [Symbol.toStringTag](): string {
    return 'Scheduler';
  }

  /** Shows the number of queued tasks of all schedulers of its kernel in `util.inspect`. */
  static {
    defineInspect<Scheduler>(
      Scheduler,
      (it) => `Scheduler { ${priorityQueuesOf(it.#queues.kernel).size} queued }`,
    );
  }
}

/**
 * Creates a scheduler on a kernel.
 *
 * @remarks
 * The tasks of all schedulers of one kernel are ordered together.
 *
 * @param kernel - the kernel whose workqueues run the tasks; by default the process-wide one
 * @param options - optional settings
 * @returns a scheduler
 * @throws KcontError EINVAL for an invalid kernel or option
 *
 * @example
 * ```ts
 * const clock = new VirtualClock();
 * const scheduler = createScheduler(new Kernel({ clock }));
 * scheduler.postTask(flush, { delay: 500 });
 * await clock.advance(500);
 * ```
 *
 * @public
 */
export function createScheduler(
  kernel: Kernel = processKernel,
  options?: SchedulerOptions,
): Scheduler {
  if (!isA(kernel, Kernel)) {
    throw traceFrom(createScheduler, invalid('kernel', 'a Kernel', kernel));
  }
  const { patienceMs = Infinity } = readOptions(options, SCHEDULER, createScheduler);
  return Scheduler._make(kernel, patienceMs);
}

/**
 * The scheduler of the process-wide kernel, like `scheduler` of a web page.
 *
 * @public
 */
export const scheduler: Scheduler = createScheduler();
