import type { Dispatcher, OnError } from './dispatch.ts';
import { readsAs } from './inspect.ts';
import { KcontError, invalid } from './errors.ts';
import { runOnce, type RunOptions } from './job.ts';
import type { Kcont } from './kcont.ts';
import type { Kernel } from './kernel.ts';
import { Fifo, unlink } from './list.ts';
import type { BaseLock } from './lock/lock.ts';
import { LOWEST_FAST, PRIORITIES } from './priorities.ts';
import type { Level } from './runq.ts';

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
}

/**
 * The limit of asynchronous functions in flight, of one workqueue or of several together.
 *
 * Invariant: while there is room and some wait, one of them is in the run queue. It is restored by
 * `wake`, called whenever a run has settled or one of them went elsewhere.
 *
 * @internal
 */
export class Room {
  readonly max: number;
  /** Asynchronous functions in flight. */
  active = 0;
  /** Whose continuations wait here, highest priority first. */
  readonly #queues: Workqueue[] = [];

  constructor(max: number) {
    this.max = max;
  }

  add(queue: Workqueue): void {
    const at = this.#queues.findIndex((other) => other.priority < queue.priority);
    this.#queues.splice(at === -1 ? this.#queues.length : at, 0, queue);
  }

  remove(queue: Workqueue): void {
    this.#queues.splice(this.#queues.indexOf(queue), 1);
  }

  /** Lets the next one run that waited for room, if there is some. */
  wake(): void {
    if (this.active >= this.max) return;
    for (const queue of this.#queues) {
      const kc = queue._waiting.shift();
      if (kc === undefined) continue;
      queue._dispatcher.resume(kc);
      return;
    }
  }
}

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
  /** @internal */
  readonly _level: Level<Kcont<unknown>>;
  /**
   * Those that may not run because maxActive are in flight.
   * @internal
   */
  readonly _waiting: Fifo<Kcont<unknown>> = new Fifo<Kcont<unknown>>();
  /** @internal */
  readonly _room: Room;
  /**
   * Asynchronous functions in flight.
   * @internal
   */
  _active = 0;
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
   * Acquired and not released, plus continuations made and not destroyed.
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
  #acquired = 0;
  readonly #registry: Registry;
  readonly #permanent: boolean;
  #drained: (() => void)[] = [];

  private constructor(
    kernel: Kernel,
    dispatcher: Dispatcher,
    registry: Registry,
    criteria: Criteria,
    name?: string,
    room?: Room,
  ) {
    this.kernel = kernel;
    this._dispatcher = dispatcher;
    this.#registry = registry;
    this._private = room !== undefined;
    this.#permanent = name !== undefined && room === undefined;
    this.priority = criteria.priority;
    this.perCpu = criteria.perCpu;
    this.maxActive = criteria.maxActive;
    this.patienceMs = criteria.patienceMs;
    this.onError = criteria.onError;
    this.fast = criteria.priority >= LOWEST_FAST;
    this.name = name ?? `pri${criteria.priority}${criteria.perCpu ? '/percpu' : ''}`;
    this._level = dispatcher.runq.level(criteria.priority);
    this._room = room ?? new Room(criteria.maxActive);
    this._room.add(this);
  }

  /**
   * How a kernel makes one.
   * @internal
   */
  static _make(
    kernel: Kernel,
    dispatcher: Dispatcher,
    registry: Registry,
    criteria: Criteria,
    name?: string,
  ): Workqueue {
    return new Workqueue(kernel, dispatcher, registry, criteria, name);
  }

  /**
   * Makes a workqueue for one user alone, with the patience and the error handler of this one. Several
   * that are given one room share its limit, the highest priority first.
   * @internal
   */
  _apart(name: string, priority: number, room: Room): Workqueue {
    const criteria = {
      priority,
      perCpu: false,
      maxActive: room.max,
      patienceMs: this.patienceMs,
      onError: this.onError,
    };
    const registry = this.#registry;
    const queue = new Workqueue(this.kernel, this._dispatcher, registry, criteria, name, room);
    return registry.add(queue)._acquire();
  }

  /**
   * Runs a function once, and returns its result.
   *
   * @param func - called at this priority, with a signal that is aborted when the caller's is or
   * when the kernel closes and can wait no longer; may be asynchronous on `prihigh` … `prilow`
   * @param options - a lock, a delay, a signal
   * @returns what the function returns; rejected with what it throws. Aborted before it was
   * entered, it never is, and the promise is rejected at once with the signal's reason. Rejected with
   * KcontError as the constructor and `schedule` of Kcont throw
   */
  run<T>(func: (signal: AbortSignal) => T | PromiseLike<T>, options?: RunOptions): Promise<T> {
    return runOnce(this, func, options);
  }

  /**
   * Waits until nothing is queued or running here.
   *
   * @remarks
   * Timers that are PENDING do not count. More may be scheduled while waiting; that is waited for
   * too.
   *
   * @returns a promise, fulfilled then
   */
  drain(): Promise<void> {
    if (this._load === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /**
   * Gives back one `acquire`. The last one, with no continuation left, frees the workqueue.
   *
   * @throws KcontError EINVAL for one release too many
   */
  release(): void {
    if (this.#acquired === 0) {
      throw new KcontError(
        'EINVAL',
        `workqueue ${this.name} was released more often than acquired`,
      );
    }
    this.#acquired--;
    this._dereference();
  }

  /** What it has done so far. */
  stats(): WorkqueueStats {
    const { current } = this._dispatcher;
    const running = this._active + (current?._wq === this ? 1 : 0);
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
    this._room.remove(this);
    this.#registry.forget(this);
  }

  /**
   * One continuation less is queued or running.
   * @internal
   */
  _unload(): void {
    if (--this._load > 0 || this.#drained.length === 0) return;
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  /**
   * Lets the next one run that waited for room, if there is some.
   * @internal
   */
  _wake(): void {
    if (this.maxActive !== Infinity) this._room.wake();
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

readsAs(Workqueue, (queue) => {
  const { queued, running, entered } = queue.stats();
  return `Workqueue ${queue.name} { priority ${queue.priority}, ${queued} queued, ${running} running, ${entered} entered }`;
});

/**
 * The workqueues of a kernel, by what they were asked for.
 *
 * @internal
 */
export class Registry {
  readonly #queues = new Set<Workqueue>();

  *[Symbol.iterator](): Generator<Workqueue, void, undefined> {
    yield* this.#queues;
  }

  /** The workqueue for these criteria; undefined: none so far. */
  find(criteria: Criteria): Workqueue | undefined {
    for (const queue of this.#queues) {
      if (
        !queue._private &&
        queue.priority === criteria.priority &&
        queue.perCpu === criteria.perCpu &&
        queue.maxActive === criteria.maxActive &&
        queue.patienceMs === criteria.patienceMs &&
        queue.onError === criteria.onError
      ) {
        return queue;
      }
    }
    return undefined;
  }

  add(queue: Workqueue): Workqueue {
    this.#queues.add(queue);
    return queue;
  }

  forget(queue: Workqueue): void {
    this.#queues.delete(queue);
  }
}

/** Default patience, in ms. */
const PATIENCE_MS = 100;

/**
 * Checks what a workqueue is asked for, and fills in the defaults.
 *
 * @internal
 */
export function criteriaFor(priority: number, options: WorkqueueOptions = {}): Criteria {
  if (!(Number.isInteger(priority) && priority >= 0 && priority < PRIORITIES)) {
    throw invalid('priority', 'an integer from 0 to 223', priority);
  }
  const { perCpu = false, maxActive = Infinity, patienceMs = PATIENCE_MS, onError } = options;
  if (typeof perCpu !== 'boolean') throw invalid('perCpu', 'a boolean', perCpu);
  if (!(maxActive === Infinity || (Number.isInteger(maxActive) && maxActive >= 1))) {
    throw invalid('maxActive', 'an integer >= 1 or Infinity', maxActive);
  }
  if (!(patienceMs >= 0)) throw invalid('patienceMs', 'a number >= 0', patienceMs);
  if (onError !== undefined && typeof onError !== 'function') {
    throw invalid('onError', 'a function', onError);
  }
  return { priority, perCpu, maxActive, patienceMs, onError };
}
