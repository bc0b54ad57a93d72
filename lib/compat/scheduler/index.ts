/**
 * Prioritized Task Scheduling over continuations: `scheduler.postTask`, `scheduler.yield`.
 *
 * @packageDocumentation
 */

/*
 *                    tasks   continuations (yield)
 *   user-blocking     127      128
 *   user-visible      119      120              priorities of workqueues
 *   background        103      104
 *
 * Each task is a continuation on the workqueue of its level. All of them take one lock, the gate,
 * which is not released when the task's function has returned but when all microtasks are over: so
 * they run before the next task is chosen, and what they yield to or post takes part in the choice.
 * To release it in the next microtask is not enough, since a pass goes on for some of them. That
 * makes one task a turn of the event loop, and I/O comes between any two.
 *
 * A task whose priority changes moves to another workqueue. There it stands among the others by the
 * time it was posted, so those that were posted after it are scheduled anew, behind it.
 *
 * What a task posts and yields inherits from it by AsyncLocalStorage.
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
 * A task's function.
 *
 * @public
 */
export type SchedulerPostTaskCallback<T> = () => T | PromiseLike<T>;

/**
 * How a task is posted.
 *
 * @public
 */
export interface SchedulerPostTaskOptions {
  /** Aborted before the task has run: it never does. A {@link TaskSignal} gives the priority too. */
  signal?: AbortSignal;
  /** Its priority, whatever the signal's is. Default: the signal's, or `'user-visible'`. */
  priority?: TaskPriority;
  /** Runs no earlier than this, in ms, a whole number 0 … 2^53−1. Default 0. */
  delay?: number;
}

/**
 * How a scheduler is made.
 *
 * @public
 */
export interface SchedulerOptions {
  /**
   * How long, in ms, a task may be kept waiting by continuations of higher priority before one of its
   * priority is run all the same. 0 and more. Default Infinity: the specification's strict order.
   */
  patienceMs?: number;
}

const SCHEDULER = optionsOf<SchedulerOptions>('createScheduler', { patienceMs: PATIENCE });

/** The workqueue priority of each level: two a priority, that of continuations is above. */
const LEVELS: readonly number[] = [PRI_PRILOW, PRI_PRIMEDHIGH, PRI_PRIHIGH].flatMap((priority) => [
  priority,
  priority + 1,
]);

/** Whose abort and whose priority a task and its continuations have. */
interface SchedulingState {
  readonly abortSource: AbortSignal | null;
  readonly prioritySource: TaskSignal | TaskPriority;
}

const DEFAULT_STATE: SchedulingState = { abortSource: null, prioritySource: 'user-visible' };

/** The tasks of all schedulers of a kernel that are queued, level by level in the order of posting. */
class Lanes implements PriorityFollower {
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

  /** The tasks of a signal move. */
  priorityChanged(signal: TaskSignal): void {
    // A closed kernel finishes what is queued as it stands.
    if (this.#kernel.wq.softclock._dispatcher.closed) return;
    const tasks = [...(this.#bySignal.get(signal) as Set<Task>)];
    for (const isContinuation of [false, true]) {
      const moved = tasks.filter((task) => task.isContinuation === isContinuation);
      if (moved.length > 0) this.#move(moved);
    }
  }

  /** How many are queued, of all levels. */
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

const lanes = new WeakMap<Kernel, Lanes>();

function lanesOf(kernel: Kernel): Lanes {
  let those = lanes.get(kernel);
  if (those === undefined) lanes.set(kernel, (those = new Lanes(kernel)));
  return those;
}

function levelOf({ isContinuation, prioritySource }: Task): number {
  const priority = typeof prioritySource === 'string' ? prioritySource : prioritySource.priority;
  return TASK_PRIORITIES.indexOf(priority) * 2 + (isContinuation ? 1 : 0);
}

/** A task that was posted, or the continuation of one that yields. */
class Task implements Awaited {
  order = 0;
  level = 0;
  readonly isContinuation: boolean;
  readonly prioritySource: TaskSignal | TaskPriority;
  /** The source, if it may change. */
  readonly signal: TaskSignal | null;
  readonly #name: string;
  readonly #abortSource: AbortSignal | null;
  readonly #lanes: Lanes;
  readonly #queues: Queues;
  readonly #steps: () => void | Promise<void>;
  readonly #reject: (reason: unknown) => void;
  #kc: Kcont<Task> | null = null;
  #queued = false;

  constructor(
    name: string,
    isContinuation: boolean,
    { abortSource, prioritySource }: SchedulingState,
    queues: Queues,
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
    this.#lanes = lanesOf(queues.kernel);
    this.#steps = steps;
    this.#reject = reject;
  }

  /** Begins: at once, or after a delay. */
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

  /** Puts it into the run queue of its level, behind all that is there. */
  schedule(): void {
    const wq = this.#queues.at(this.level);
    if (this.#kc?.wq !== wq) {
      this.#kc?.destroy();
      const options = { name: this.#name };
      this.#kc = makeOwn<Task>(TASK, wq, this.#lanes.gate, Task.#run, this, options);
    }
    // Where the kernel closes, what is in flight may go on yielding.
    if (this.isContinuation && awaits(wq._dispatcher)) outlastGrace(this.#kc);
    resetOrThrow(this.#kc);
  }

  #enqueue(): void {
    this.#lanes.add(this);
    this.#queued = true;
    try {
      this.schedule();
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  #leave(): void {
    if (this.#queued) this.#lanes.remove(this);
    this.#queued = false;
    this.#kc?.destroy();
  }

  /** It never runs, or has begun: its promise is rejected in any case. */
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
    // The run goes on, for those who drain and close, until the promise has settled.
    return running;
  }
}

/** The workqueues of a scheduler, each acquired when first used. */
class Queues {
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

/** The context of the moment: a hundred times cheaper than AsyncLocalStorage.snapshot on Node 20. */
function hereAndNow(): AsyncResource {
  return new AsyncResource('kcont.postTask', { requireManualDestroy: true });
}

/** In a task: its scheduler and its state, and those of the tasks of other schedulers around it. */
interface Current {
  readonly queues: Queues;
  readonly state: SchedulingState;
  readonly outer: Current | undefined;
}

/**
 * One for all schedulers: on Node 20 every AsyncLocalStorage that was ever used makes each promise of
 * the process slower, for good.
 */
const current = new AsyncLocalStorage<Current>();

/** What is current but for what is of one scheduler: at most one is of each. */
function withoutOne(from: Current | undefined, queues: Queues): Current | undefined {
  if (from === undefined) return undefined;
  const outer = withoutOne(from.outer, queues);
  if (from.queues === queues) return outer;
  return outer === from.outer ? from : { ...from, outer };
}

function currentOf(queues: Queues): SchedulingState | undefined {
  let at = current.getStore();
  while (at !== undefined && at.queues !== queues) at = at.outer;
  return at?.state;
}

const MINE: unique symbol = Symbol('scheduler');

/**
 * Posts tasks with a priority.
 *
 * @remarks
 * Made by {@link createScheduler}; {@link scheduler} is that of the process-wide kernel.
 *
 * @public
 */
export class Scheduler {
  readonly #queues: Queues;

  private constructor(mine: typeof MINE, queues: Queues) {
    if (mine !== MINE) throw new TypeError('Illegal constructor');
    this.#queues = queues;
  }

  /**
   * How `createScheduler` makes one.
   * @internal
   */
  static _make(kernel: Kernel, patienceMs: number): Scheduler {
    return new Scheduler(MINE, new Queues(kernel, patienceMs));
  }

  /**
   * Posts a task.
   *
   * @remarks
   * The task of the highest priority runs first, among equals the one that was posted first. All
   * microtasks of a task have run before the next one is chosen.
   *
   * @param callback - called without arguments, in the AsyncLocalStorage context of the caller
   * @param options - signal, priority, delay
   * @returns what the callback returns; rejected with what it throws, with the signal's reason when
   * that is aborted before the callback has returned, with TypeError for an argument that is not
   * what it has to be, with KcontError ESHUTDOWN when the kernel is closed before it has settled
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
          // Followed, not resolved with: a shutdown may still reject it.
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
   * Lets others run: goes on at the priority of the task that calls it, before tasks of that
   * priority which have not begun.
   *
   * @returns a promise, fulfilled then; rejected with the reason of the task's signal when that is
   * aborted first, with KcontError ESHUTDOWN when the kernel is closed; in the grace of `close` a
   * task in flight may go on yielding
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

  /** How it reads in `util.inspect`: with the tasks of all schedulers of its kernel. */
  static {
    defineInspect<Scheduler>(
      Scheduler,
      (it) => `Scheduler { ${lanesOf(it.#queues.kernel).size} queued }`,
    );
  }
}

/**
 * Makes a scheduler on a kernel of your own.
 *
 * @remarks
 * The tasks of several schedulers of one kernel stand in one order.
 *
 * @param kernel - whose workqueues run the tasks
 * @param options - patience
 * @returns a scheduler
 * @throws KcontError EINVAL for a kernel or an option that is not what it has to be
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
 * The scheduler of the process-wide kernel: what `scheduler` is to a page.
 *
 * @public
 */
export const scheduler: Scheduler = createScheduler();
