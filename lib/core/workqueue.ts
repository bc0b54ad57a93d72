import { WaitList } from '../locks/wait-list.ts';
import type { LimitPlace } from './awaited.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { OnError } from './invoke.ts';
import { giveWay } from './give-way.ts';
import type { FastWorkqueue, Synchronous, UnlessFast } from './fast-workqueue.ts';
import { defineInspect } from '../base/inspect.ts';
import { KcontError, traceFrom, type Caller } from '../base/errors.ts';
import { runOnce, type RunOptions } from './one-shot.ts';
import type { Kcont } from './kcont.ts';
import type { Kernel } from './kernel.ts';
import { unlink } from '../base/list.ts';
import { takeWaiting } from './inherited-limit.ts';
import { OrderedList } from '../base/ordered-list.ts';
import type { BaseLock } from '../locks/lock.ts';
import { SIGNAL, optionsOf, readOptions } from '../base/options-check.ts';
import { LOWEST_FAST } from '../base/priorities.ts';
import type { ClockSampler } from '../time/clock-sampling.ts';
import type { Level } from './run-queue.ts';
import { joinLevel, leaveLevel, type Lane } from './share-group.ts';
import { Shedder, type Backlog, type ShedOptions, type ShedSettings } from './shedder.ts';

/**
 * Optional settings of a workqueue.
 *
 * @public
 */
export interface WorkqueueOptions {
  /** Whether it has a queue per CPU, so that `schedule` can name a CPU. Default false. */
  perCpu?: boolean;
  /** How many asynchronous functions may be in flight, 1 or more. Default Infinity. */
  maxActive?: number;
  /**
   * How long, in ms, higher priorities may keep a continuation waiting. After that, one continuation
   * of its priority runs in each pass, ahead of them. 0 or more. Default 100.
   */
  patienceMs?: number;
  /** Called with the errors of the functions. Default: the kernel's `onError`. */
  onError?: OnError;
  /**
   * Its name in reports, not empty. Requests with different names get different workqueues. By default
   * the name is made of the priority: `pri110`, or `pri110/percpu`.
   */
  name?: string;
  /**
   * How much of the time that its priority gets is for this workqueue, in proportion to the other workqueues of the
   * same priority while they have something to run: an integer, 1 … 1000. Those that were acquired without this option
   * count as 1, also the predefined ones. What counts is the time for which functions run, until they return or first
   * `await`, and after each `yield`. Default: as long as no workqueue of the priority has shares, first in first out
   * among all of them.
   */
  shares?: number;
  /**
   * Refuses new runs while earlier ones wait for too long, with {@link ShedError}. Not together with
   * `perCpu`. Default: no run is refused because of load.
   */
  shed?: ShedOptions;
}

/**
 * Statistics of a workqueue.
 *
 * @public
 */
export interface WorkqueueStats {
  /** The workqueue's name. */
  readonly name: string;
  /** Its priority. */
  readonly priority: number;
  /** Its part in the turns of its priority; null: no workqueue of its priority has been acquired with `shares`. */
  readonly shares: number | null;
  /** Number of continuations that are runnable and have not been entered. */
  readonly queued: number;
  /** Number of functions that have been entered and have not settled. */
  readonly running: number;
  /** Number of functions entered so far. */
  readonly entered: number;
  /** Number of functions that have failed so far. */
  readonly failed: number;
}

/**
 * The settings of a workqueue. Two calls of `acquire` with equal settings get the same workqueue.
 *
 * @internal
 */
export interface Criteria {
  readonly priority: number;
  readonly perCpu: boolean;
  readonly maxActive: number;
  readonly patienceMs: number;
  readonly onError: OnError | undefined;
  /** Undefined: the workqueue that was requested without a name. */
  readonly name: string | undefined;
  /** Undefined: no run is refused because of load. */
  readonly shed: ShedSettings | undefined;
  /** Undefined: it has one share if others have shares. */
  readonly shares: number | undefined;
}

/** The number that stands for "no limit": the largest power of two that is a small integer. */
const MOST_ACTIVE: number = 2 ** 30;

/**
 * A queue of runnable continuations, with a priority.
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
  /** Whether it has a queue per CPU. */
  readonly perCpu: boolean;
  /** Whether it takes synchronous functions only. */
  readonly fast: boolean;
  /** Its name in reports. */
  readonly name: string;
  /** How many asynchronous functions may be in flight. */
  readonly maxActive: number;
  /** How long higher priorities may keep its continuations waiting, in ms. */
  readonly patienceMs: number;
  /** Its shares; undefined if it was acquired without, which counts as 1 where others have shares. */
  readonly shares: number | undefined;
  /** The kernel it belongs to. */
  readonly kernel: Kernel;
  /** @internal */
  readonly onError: OnError | undefined;
  /**
   * The handler of errors: its own or the kernel's.
   * @internal
   */
  readonly _handler: OnError | undefined;

  /** @internal */
  readonly _dispatcher: Dispatcher;
  /**
   * The dispatcher's clock sampler, stored here so that `touch` reaches it quickly.
   * @internal
   */
  readonly _sampler: ClockSampler<Kcont<unknown>>;
  /**
   * Where its continuations are runnable: the level of its priority, or of its lane.
   * @internal
   */
  declare _level: Level<Kcont<unknown>>;
  /**
   * Its lane, if workqueues of its priority have shares.
   * @internal
   */
  _lane: Lane<Kcont<unknown>> | null = null;
  /**
   * Whether its functions need nothing but to be called: it has no handler of errors, and no lane.
   * @internal
   */
  _isPlain = true;
  /**
   * The workqueue whose lane it uses: itself, or that of the same priority it was made of.
   * @internal
   */
  _home: Workqueue;
  /**
   * Continuations that cannot run because maxActive are in flight.
   * @internal
   */
  readonly _waiting: OrderedList<Kcont<unknown>> = new OrderedList<Kcont<unknown>>();
  /**
   * Those of them that have inherited a priority, by that; null: there have been none.
   * @internal
   */
  _raised: Map<number, OrderedList<LimitPlace>> | null = null;
  /**
   * How many more asynchronous functions may be in flight. A small integer even without a limit.
   * @internal
   */
  _available: number;
  /**
   * Asynchronous functions in flight.
   * @internal
   */
  _active = 0;
  /**
   * The workqueues that share its limit, including itself, highest priority first; null: not shared.
   * @internal
   */
  _sharing: Workqueue[] | null = null;
  /**
   * Continuations that have been queued, so far.
   * @internal
   */
  _queued = 0;
  /**
   * How many of those counted in `_queued` are over: their run has settled, or they were withdrawn.
   * @internal
   */
  _done = 0;
  /**
   * How many of those counted in `_done` were withdrawn.
   * @internal
   */
  _withdrawn = 0;
  /**
   * Whether something may have to be done when a run settles: continuations wait for maxActive, the
   * limit is shared, or a drain waits.
   * @internal
   */
  _watched = false;
  /** @internal */
  _failed = 0;
  /**
   * The runs that wait, if runs are refused because of load.
   * @internal
   */
  _backlog: Backlog | null = null;
  /**
   * Its own settings of `shed`.
   * @internal
   */
  readonly _shed: ShedSettings | undefined;
  /**
   * The sum of acquires not yet released, continuations not destroyed, and runs in flight of
   * destroyed continuations.
   * @internal
   */
  _references = 0;
  /** @internal */
  _freed = false;
  /** Its key among the workqueues that `acquire` returns; null: it is not one of them. */
  #key: string | null = null;
  #acquired = 0;
  readonly #permanent: boolean;
  /** Called when nothing is queued or running any more. */
  readonly #drained = new WaitList();

  private constructor(
    dispatcher: Dispatcher,
    criteria: Criteria,
    name: string | undefined,
    isPrivate: boolean,
    home: Workqueue | undefined,
  ) {
    this.kernel = dispatcher.kernel;
    this._dispatcher = dispatcher;
    this._sampler = dispatcher.sampler;
    this.#permanent = name !== undefined && !isPrivate;
    this.priority = criteria.priority;
    this.perCpu = criteria.perCpu;
    this.maxActive = criteria.maxActive;
    this._available = Math.min(criteria.maxActive, MOST_ACTIVE);
    this.patienceMs = criteria.patienceMs;
    this.onError = criteria.onError;
    this._handler = criteria.onError ?? dispatcher.onError;
    this.fast = criteria.priority >= LOWEST_FAST;
    this.name = name ?? criteria.name ?? defaultName(criteria.priority, criteria.perCpu);
    this._shed = criteria.shed;
    if (criteria.shed !== undefined)
      this._backlog = new Shedder(dispatcher, criteria.shed).add(this.name);
    this.shares = criteria.shares;
    this._home = home ?? this;
    joinLevel(this, criteria.shares);
    dispatcher.queues.add(this);
    if (isPrivate) return;
    this.#key = dispatcher.acquirable.add(this, criteria);
    // A predefined one is found by its name as well.
    if (name !== undefined) dispatcher.acquirable.add(this, { ...criteria, name });
  }

  /**
   * Creates a workqueue. `name` is given for predefined and private ones, `home` if it uses the lane of another.
   * @internal
   */
  static _make(
    dispatcher: Dispatcher,
    criteria: Criteria,
    name?: string,
    isPrivate: boolean = false,
    home?: Workqueue,
  ): Workqueue {
    return new Workqueue(dispatcher, criteria, name, isPrivate, home);
  }

  /**
   * Runs a function once, and returns its result.
   *
   * @param func - called at this priority; may be asynchronous on `prihigh` … `prilow`. If it declares
   * a parameter (other than a rest parameter or one with a default), it gets a signal that is aborted
   * when the caller's signal is, or at the end of the grace period when the kernel closes
   * @param options - optional settings: a lock, a delay, a signal
   * @returns a promise of what the function returns, rejected with what it throws. If the signal is
   * aborted before the function is entered, the function never runs, and the promise is rejected
   * immediately with the signal's reason. Rejected with KcontError ESHUTDOWN if the kernel closes before
   * the function has settled, with {@link ShedError} if the workqueue refuses runs because of load, and with the
   * errors that the constructor and `schedule` of Kcont throw
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
   * @param options - the argument, and the same settings as for a run without an argument; `cpu` on a
   * workqueue with a queue per CPU
   * @returns as for a run without an argument. The argument and the result are copied between CPUs;
   * rejected with KcontError EINVAL for an argument that cannot be copied, and ECPUDIED if the CPU died
   * while the function ran
   */
  run<A, T, W extends Workqueue = Workqueue>(
    this: UnlessFast<W>,
    func: (arg: A, signal: AbortSignal) => T | PromiseLike<T>,
    options: RunOptions & { arg: NoInfer<A> },
  ): Promise<T>;
  /**
   * Runs a function with an argument once on one of the `soft…` workqueues, and returns its result.
   *
   * @param func - called with the argument; must not return a promise
   * @param options - the argument, and the same settings as for a run without an argument
   * @returns as for a run without an argument
   */
  run<A, T>(
    this: FastWorkqueue,
    func: (arg: A, signal: AbortSignal) => T & Synchronous<T>,
    options: RunOptions & { arg: NoInfer<A> },
  ): Promise<T>;
  /**
   * Runs a function once on one of the `soft…` workqueues, and returns its result.
   *
   * @param func - called at this priority; must not return a promise
   * @param options - optional settings: a lock, a delay, a signal
   * @returns a promise of what the function returns, as on the other workqueues
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
   * Lets everything run that is more urgent, and comes back in order.
   *
   * @remarks
   * The caller takes a place at the end of this workqueue's priority. What is runnable at higher priorities, or came
   * before at this one, is entered first; what comes later, or is of a lower priority, is entered after the caller has
   * gone on. When the budget of the pass is spent, I/O is handled in between. Locks that the caller holds remain held,
   * and a place within `maxActive` remains taken. Also for code that no workqueue has called.
   *
   * @returns a promise that is fulfilled when it is the caller's turn. Rejected with KcontError ESHUTDOWN when the
   * kernel is closed before that, and EINVAL if the workqueue has been freed. During the grace of `close` it is fulfilled
   *
   * @example
   * ```ts
   * for (const part of parts) {
   *   index(part);
   *   await wq.prilow.yield();
   * }
   * ```
   */
  yield(): Promise<void> {
    return giveWay(this, Workqueue.prototype.yield);
  }

  /**
   * Waits until no continuation is queued or running on this workqueue.
   *
   * @remarks
   * PENDING timers are not waited for. Continuations that are scheduled meanwhile are waited for too.
   *
   * @param options - optional settings: a signal that ends the wait
   * @returns a promise, rejected with the signal's reason when aborted, and with KcontError EINVAL for
   * an invalid option
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    return drainBy((signal) => this._drain(signal), options, Workqueue.prototype.drain);
  }

  /** @internal */
  _drain(signal?: AbortSignal): Promise<void> {
    if (this._load === 0) return Promise.resolve();
    this._watched = true;
    return this.#drained.wait(signal);
  }

  /**
   * Undoes one `acquire`. The workqueue is freed when the last acquire has been released and it has no
   * continuations and no runs in flight.
   *
   * @throws KcontError EINVAL if it was released more often than acquired
   */
  release(): void {
    if (this._release()) return;
    const what = `workqueue ${this.name} was released more often than acquired`;
    throw traceFrom(Workqueue.prototype.release, new KcontError('EINVAL', what));
  }

  /** Returns its statistics. */
  stats(): WorkqueueStats {
    const running = this.#running();
    return {
      name: this.name,
      priority: this.priority,
      shares: this._lane?.shares ?? null,
      queued: this._load - running,
      running,
      entered: this._done - this._withdrawn + running,
      failed: this._failed,
    };
  }

  /** The number of functions that have been entered and have not settled. */
  #running(): number {
    const { current } = this._dispatcher;
    const sync = current !== undefined && current._wq === this && current.running;
    return this._active + (sync ? 1 : 0);
  }

  /** @internal */
  _acquire(): this {
    this.#acquired++;
    this._references++;
    return this;
  }

  /**
   * Releases one acquire; false if there is none.
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
    if (this.#key !== null) this._dispatcher.acquirable.delete(this.#key);
    leaveLevel(this);
  }

  /**
   * Counts an asynchronous run that has started (`by` 1) or settled (`by` -1).
   * @internal
   */
  _addActive(by: number): void {
    this._active += by;
    if (this._sharing === null) this._available -= by;
    else for (const queue of this._sharing) queue._available -= by;
  }

  /**
   * Continuations queued, plus functions entered and not settled.
   * @internal
   */
  get _load(): number {
    return this._queued - this._done;
  }

  /**
   * Called when a run has settled.
   * @internal
   */
  _settled(): void {
    this._done++;
    if (this._watched) this.#goOn();
  }

  /**
   * Called when a queued continuation has been withdrawn.
   * @internal
   */
  _unload(): void {
    this._done++;
    this._withdrawn++;
    if (this._watched) this.#goOn();
  }

  #goOn(): void {
    if (this._load === 0) this.#drained.serveAll();
    this._wake();
    this._watched = this._sharing !== null || !this._waiting.empty || this.#drained.size > 0;
  }

  /**
   * Lets a continuation wait until fewer than maxActive are in flight.
   * @internal
   */
  _await(kc: Kcont<unknown>): void {
    this._waiting.insert(kc);
    this._watched = true;
  }

  /**
   * Makes the next continuation that waits for maxActive runnable, if the limit allows another run.
   *
   * Invariant: while the limit allows another run and `_waiting` is not empty, at least one continuation
   * that was taken from `_waiting` is in the run queue. It is restored here; this is called whenever a run
   * has settled, and whenever such a continuation was withdrawn or has begun to wait for its lock.
   * @internal
   */
  _wake(): void {
    if (this._available === 0) return;
    const next = takeWaiting(this);
    if (next !== undefined) this._dispatcher.resume(next);
  }

  /**
   * Called when the lock of a continuation that was set aside has been replaced.
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
 * Implements `drain` with its options.
 *
 * @param wait - returns a promise that is fulfilled when drained, and rejected when the signal that it gets is aborted
 *
 * @internal
 */
export async function drainBy(
  wait: (signal: AbortSignal | undefined) => Promise<void>,
  options: { signal?: AbortSignal } | undefined,
  caller: Caller,
): Promise<void> {
  const { signal } = readOptions(options, DRAIN, caller);
  signal?.throwIfAborted();
  return wait(signal);
}

/**
 * The name of a workqueue that was given none.
 *
 * @internal
 */
export function defaultName(priority: number, perCpu: boolean): string {
  return `pri${priority}${perCpu ? '/percpu' : ''}`;
}
