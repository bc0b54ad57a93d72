import { untilAborted } from '../base/abort-listeners.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { OnError } from './invoke.ts';
import type { FastWorkqueue, Synchronous, UnlessFast } from './fast-workqueue.ts';
import { defineInspect } from '../base/inspect.ts';
import { KcontError, traceFrom, type Caller } from '../base/errors.ts';
import { runOnce, type RunOptions } from './one-shot.ts';
import type { Kcont } from './kcont.ts';
import type { Kernel } from './kernel.ts';
import { Fifo, unlink } from '../base/list.ts';
import type { BaseLock } from '../locks/lock.ts';
import {
  FLAG,
  FUNCTION,
  NAME,
  PATIENCE,
  SIGNAL,
  check,
  integerOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import { LOWEST_FAST, PRIORITY } from '../base/priorities.ts';
import type { ClockSampler } from '../time/clock-sampling.ts';
import type { Level } from './run-queue.ts';

/**
 * What a workqueue is asked for, besides its priority.
 *
 * @public
 */
export interface WorkqueueOptions {
  /** A queue for each CPU, so that a continuation can be scheduled on one of them. Default false. */
  perCpu?: boolean;
  /** How many asynchronous functions may be in flight, 1 and more. Default Infinity. */
  maxActive?: number;
  /**
   * How long, in ms, a continuation may be kept waiting by higher priorities before one of its
   * priority is run in each pass all the same. 0 and more. Default 100.
   */
  patienceMs?: number;
  /** Takes the errors of the functions; by default the kernel's `onError`. */
  onError?: OnError;
  /**
   * Its name in reports, not empty: whoever asks for another name gets another workqueue. By default it
   * is called by its priority: `pri110`, or `pri110/percpu`.
   */
  name?: string;
}

/**
 * What a workqueue has done so far.
 *
 * @public
 */
export interface WorkqueueStats {
  /** The workqueue's name. */
  readonly name: string;
  /** Its priority. */
  readonly priority: number;
  /** Continuations that are runnable and not entered, for whatever reason. */
  readonly queued: number;
  /** Functions entered and not settled. */
  readonly running: number;
  /** Functions entered so far. */
  readonly entered: number;
  /** Functions that have failed so far. */
  readonly failed: number;
}

/**
 * What makes two requests the same.
 *
 * @internal
 */
export interface Criteria {
  readonly priority: number;
  readonly perCpu: boolean;
  readonly maxActive: number;
  readonly patienceMs: number;
  readonly onError: OnError | undefined;
  /** Undefined: the workqueue whose name is as good as any. */
  readonly name: string | undefined;
}

/** In flight without a limit: as many as a small integer counts. */
const MOST_ACTIVE: number = 2 ** 30;

/**
 * A priority, and the continuations that are runnable at it.
 *
 * @remarks
 * The eight predefined ones are `kernel.wq.softserial` … `kernel.wq.prilow`; others come from
 * `kernel.acquire`. Priorities from 192 on take synchronous functions only.
 *
 * @public
 */
export class Workqueue {
  /** 0 … 223, 223 is the highest. */
  readonly priority: number;
  /** Whether it has a queue for each CPU. */
  readonly perCpu: boolean;
  /** Whether it takes synchronous functions only. */
  readonly fast: boolean;
  /** Its name in reports. */
  readonly name: string;
  /** How many asynchronous functions may be in flight. */
  readonly maxActive: number;
  /** How long higher priorities may keep it waiting, in ms. */
  readonly patienceMs: number;
  /** The kernel it belongs to. */
  readonly kernel: Kernel;
  /** @internal */
  readonly onError: OnError | undefined;

  /** @internal */
  readonly _dispatcher: Dispatcher;
  /**
   * The dispatcher's, within reach of `touch`.
   * @internal
   */
  readonly _sampler: ClockSampler<Kcont<unknown>>;
  /** @internal */
  readonly _level: Level<Kcont<unknown>>;
  /**
   * Those that may not run because maxActive are in flight.
   * @internal
   */
  readonly _waiting: Fifo<Kcont<unknown>> = new Fifo<Kcont<unknown>>();
  /**
   * How many more asynchronous functions may be in flight. A small integer also without a limit.
   * @internal
   */
  _available: number;
  /**
   * Asynchronous functions in flight.
   * @internal
   */
  _active = 0;
  /**
   * The workqueues that share its room, itself included, highest priority first; null: none does.
   * @internal
   */
  _sharing: Workqueue[] | null = null;
  /**
   * Continuations queued, plus functions entered and not settled.
   * @internal
   */
  _load = 0;
  /** @internal */
  _entered = 0;
  /** @internal */
  _failed = 0;
  /**
   * Acquired and not released, plus continuations made and not destroyed, plus runs in flight of those
   * that were.
   * @internal
   */
  _references = 0;
  /** @internal */
  _freed = false;
  /**
   * Nobody else gets it by asking for the same.
   * @internal
   */
  readonly _private: boolean;
  /**
   * The name it was asked for by; undefined: none.
   * @internal
   */
  readonly _asked: string | undefined;
  #acquired = 0;
  readonly #permanent: boolean;
  #drained: (() => void)[] = [];

  private constructor(
    dispatcher: Dispatcher,
    criteria: Criteria,
    name: string | undefined,
    isPrivate: boolean,
  ) {
    this.kernel = dispatcher.kernel;
    this._dispatcher = dispatcher;
    this._sampler = dispatcher.sampler;
    this._private = isPrivate;
    this.#permanent = name !== undefined && !isPrivate;
    this.priority = criteria.priority;
    this.perCpu = criteria.perCpu;
    this.maxActive = criteria.maxActive;
    this._available = Math.min(criteria.maxActive, MOST_ACTIVE);
    this.patienceMs = criteria.patienceMs;
    this.onError = criteria.onError;
    this.fast = criteria.priority >= LOWEST_FAST;
    this._asked = criteria.name;
    this.name = name ?? criteria.name ?? defaultName(criteria.priority, criteria.perCpu);
    const level = dispatcher.runq.level(criteria.priority);
    level.leastPatienceMs = Math.min(level.leastPatienceMs, criteria.patienceMs);
    this._level = level;
    dispatcher.queues.add(this);
  }

  /**
   * How a kernel makes one. `name`: it is predefined, or private.
   * @internal
   */
  static _make(
    dispatcher: Dispatcher,
    criteria: Criteria,
    name?: string,
    isPrivate: boolean = false,
  ): Workqueue {
    return new Workqueue(dispatcher, criteria, name, isPrivate);
  }

  /**
   * Runs a function once, and returns its result.
   *
   * @param func - called at this priority; may be asynchronous on `prihigh` … `prilow`. If it declares
   * a parameter (not only a rest parameter or one with a default), it gets a signal that is aborted
   * when the caller's is, or when the kernel closes and can wait no longer
   * @param options - a lock, a delay, a signal
   * @returns what the function returns; rejected with what it throws. Aborted before it was
   * entered, it never is, and the promise is rejected at once with the signal's reason. Rejected with
   * KcontError ESHUTDOWN when the kernel has closed before it has settled; with KcontError as the
   * constructor and `schedule` of Kcont throw
   */
  run<T, W extends Workqueue = Workqueue>(
    this: UnlessFast<W>,
    func: (signal: AbortSignal) => T | PromiseLike<T>,
    options?: RunOptions,
  ): Promise<T>;
  /**
   * Runs a function with an argument once, and returns its result. A function of the CPU module may
   * run on another CPU.
   *
   * @param func - called with the argument, and with a signal if it declares a second parameter
   * @param options - the argument, and as for any other run; `cpu` on a workqueue with a queue per CPU
   * @returns as above. Its argument and its result are copied from one CPU to the other; KcontError
   * EINVAL for an argument that cannot be, ECPUDIED when the CPU died while the function ran
   */
  run<A, T, W extends Workqueue = Workqueue>(
    this: UnlessFast<W>,
    func: (arg: A, signal: AbortSignal) => T | PromiseLike<T>,
    options: RunOptions & { arg: NoInfer<A> },
  ): Promise<T>;
  /**
   * Runs a function with an argument once on one of the `soft…` workqueues, and returns its result.
   *
   * @param func - called with the argument; returns no promise
   * @param options - the argument, and as for any other run
   * @returns as above
   */
  run<A, T>(
    this: FastWorkqueue,
    func: (arg: A, signal: AbortSignal) => T & Synchronous<T>,
    options: RunOptions & { arg: NoInfer<A> },
  ): Promise<T>;
  /**
   * Runs a function once on one of the `soft…` workqueues, and returns its result.
   *
   * @param func - called at this priority; returns no promise
   * @param options - a lock, a delay, a signal
   * @returns as above
   */
  run<T>(
    this: FastWorkqueue,
    func: (signal: AbortSignal) => T & Synchronous<T>,
    options?: RunOptions,
  ): Promise<T>;
  run<T>(func: (...args: never[]) => T | PromiseLike<T>, options?: RunOptions): Promise<T> {
    return runOnce(this, func, options, Workqueue.prototype.run);
  }

  /**
   * Waits until nothing is queued or running here.
   *
   * @remarks
   * Timers that are PENDING do not count. More may be scheduled while waiting; that is waited for
   * too.
   *
   * @param options - a signal to give up waiting
   * @returns a promise, fulfilled then; rejected with the signal's reason, and with KcontError EINVAL for
   * an option that is not what it has to be
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    return drainBy(() => this._drain(), options, Workqueue.prototype.drain);
  }

  /** @internal */
  _drain(): Promise<void> {
    if (this._load === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /**
   * Gives back one `acquire`. The last one, with no continuation and no run in flight left, frees the
   * workqueue.
   *
   * @throws KcontError EINVAL for one release too many
   */
  release(): void {
    if (this._release()) return;
    const what = `workqueue ${this.name} was released more often than acquired`;
    throw traceFrom(Workqueue.prototype.release, new KcontError('EINVAL', what));
  }

  /** What it has done so far. */
  stats(): WorkqueueStats {
    const { current } = this._dispatcher;
    const sync = current !== undefined && current._wq === this && current.running;
    const running = this._active + (sync ? 1 : 0);
    return {
      name: this.name,
      priority: this.priority,
      queued: this._load - running,
      running,
      entered: this._entered,
      failed: this._failed,
    };
  }

  /** @internal */
  _acquire(): this {
    this.#acquired++;
    this._references++;
    return this;
  }

  /**
   * Whether there was something to release.
   * @internal
   */
  _release(): boolean {
    if (this.#acquired === 0) return false;
    this.#acquired--;
    this._dereference();
    return true;
  }

  /** @internal */
  _dereference(): void {
    this._references--;
    if (this._references > 0 || this.#permanent) return;
    this._freed = true;
    this._sharing?.splice(this._sharing.indexOf(this), 1);
    this._dispatcher.queues.delete(this);
  }

  /**
   * An asynchronous function is in flight: `by` 1, or has come down: `by` -1.
   * @internal
   */
  _addActive(by: number): void {
    this._active += by;
    if (this._sharing === null) this._available -= by;
    else for (const queue of this._sharing) queue._available -= by;
  }

  /**
   * A run has settled.
   * @internal
   */
  _settled(): void {
    this._unload();
    if (!this._waiting.empty || this._sharing !== null) this._wake();
  }

  /**
   * One continuation less is queued or running.
   * @internal
   */
  _unload(): void {
    if (--this._load === 0 && this.#drained.length > 0) {
      for (const resolve of this.#drained.splice(0)) resolve();
    }
  }

  /**
   * Lets the next one run that waited for maxActive, if there is room.
   *
   * Invariant: while there is room and some wait, one of them is in the run queue. It is restored
   * here, called whenever a run has settled or one of them went elsewhere.
   * @internal
   */
  _wake(): void {
    if (this._available === 0) return;
    const next =
      this._sharing === null
        ? this._waiting.shift()
        : this._sharing.find((queue) => !queue._waiting.empty)?._waiting.shift();
    if (next !== undefined) this._dispatcher.resume(next);
  }

  /**
   * A continuation that waits has got another lock.
   * @internal
   */
  _requeue(kc: Kcont<unknown>, old: BaseLock): void {
    unlink(kc);
    old._leave(kc);
    this._dispatcher.resume(kc);
  }
}

defineInspect(
  Workqueue,
  (queue) => {
    const { queued, running, entered } = queue.stats();
    return `Workqueue ${queue.name} { priority ${queue.priority}, ${queued} queued, ${running} running, ${entered} entered }`;
  },
  (queue) => queue.stats(),
);

const DRAIN = optionsOf<{ signal?: AbortSignal }>('drain', { signal: SIGNAL });

/**
 * What all that can be drained do with the options of `drain`.
 *
 * @param wait - fulfilled when it is drained
 *
 * @internal
 */
export async function drainBy(
  wait: () => Promise<void>,
  options: { signal?: AbortSignal } | undefined,
  caller: Caller,
): Promise<void> {
  const { signal } = readOptions(options, DRAIN, caller);
  signal?.throwIfAborted();
  return untilAborted(wait(), signal);
}

/**
 * Makes a workqueue for one user alone, with the patience and the error handler of another one.
 *
 * @param of - the other one
 * @param name - its name in reports
 * @param priority - 0 … 223
 * @param limit - how many asynchronous functions may be in flight; a workqueue: that one's limit, of
 * both together, and what becomes free goes to the higher priority
 *
 * @internal
 */
export function createPrivate(
  of: Workqueue,
  name: string,
  priority: number,
  limit: number | Workqueue,
): Workqueue {
  const { patienceMs, onError } = of;
  const maxActive = typeof limit === 'number' ? limit : limit.maxActive;
  const criteria = { priority, perCpu: false, maxActive, patienceMs, onError, name: undefined };
  const queue = Workqueue._make(of._dispatcher, criteria, name, true);
  if (typeof limit === 'object') {
    const sharing = (limit._sharing ??= [limit]);
    queue._sharing = sharing;
    queue._available = limit._available;
    sharing.push(queue);
    sharing.sort((a, b) => b.priority - a.priority);
  }
  return queue._acquire();
}

/**
 * The workqueue for these criteria: one that there is, or a new one.
 *
 * @internal
 */
export function findOrMake(dispatcher: Dispatcher, criteria: Criteria): Workqueue {
  for (const queue of dispatcher.queues) {
    if (
      !queue._private &&
      queue.priority === criteria.priority &&
      queue.perCpu === criteria.perCpu &&
      queue.maxActive === criteria.maxActive &&
      queue.patienceMs === criteria.patienceMs &&
      queue.onError === criteria.onError &&
      (criteria.name === undefined ? queue._asked : queue.name) === criteria.name
    ) {
      return queue;
    }
  }
  return Workqueue._make(dispatcher, criteria);
}

/** Default patience, in ms. */
const PATIENCE_MS = 100;

const ACQUIRE = optionsOf<WorkqueueOptions>('acquire', {
  perCpu: FLAG,
  maxActive: integerOf('an integer >= 1 or Infinity', 1, Infinity),
  patienceMs: PATIENCE,
  onError: FUNCTION,
  name: NAME,
});

/**
 * Checks what a workqueue is asked for, and fills in the defaults.
 *
 * @internal
 */
export function criteriaFor(
  priority: number,
  options?: WorkqueueOptions,
  caller: Caller = criteriaFor,
): Criteria {
  check('priority', PRIORITY, priority, caller);
  const {
    perCpu = false,
    maxActive = Infinity,
    patienceMs = PATIENCE_MS,
    onError,
    name,
  } = readOptions(options, ACQUIRE, caller);
  const asked = name === defaultName(priority, perCpu) ? undefined : name;
  return { priority, perCpu, maxActive, patienceMs, onError, name: asked };
}

function defaultName(priority: number, perCpu: boolean): string {
  return `pri${priority}${perCpu ? '/percpu' : ''}`;
}
