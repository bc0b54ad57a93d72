/*
 * A mutex or a semaphore that does not wait for longer than some time.
 *
 * What can be locked at once gets no timer. A call whose time has passed leaves the queue: those behind it
 * do not wait for it, and nothing has to be given back later. Only with a mutex of another make, or one that has a
 * timeout already, is it as in async-mutex: the call stays in the queue, and unlocks at once what it gets too late.
 */

import { invalid, isA, traceFrom } from '../../base/errors.ts';
import type { Kcont } from '../../core/kcont.ts';
import { Kernel, kernel as processKernel } from '../../core/kernel.ts';
import type { Task } from '../../core/one-shot.ts';
import { makeOwn } from '../../core/own-kcont.ts';
import { resetOrThrow } from '../../core/schedule.ts';
import { LIMIT, TASK } from '../../core/state.ts';
import { AsyncLock, checkWeight, type Ticket } from './async-lock.ts';
import { E_ALREADY_LOCKED, E_TIMEOUT } from './errors.ts';
import type { MutexInterface } from './mutex-interface.ts';
import type { SemaphoreInterface } from './semaphore-interface.ts';

/** The longest delay of a timer, in ms. */
const LONGEST_MS = Number.MAX_SAFE_INTEGER;
/** Number of idle timers that a kernel's pool keeps. */
const POOLED = 1024;

/** Ends a wait, with a reason. */
type End = (reason: unknown) => void;

/** A timer for one call. */
class Timer implements Task {
  #end: End | null = null;
  #reason: unknown = undefined;
  readonly #kc: Kcont<Timer>;
  readonly #pool: Timer[];

  constructor(kernel: Kernel, pool: Timer[]) {
    this.#pool = pool;
    const options = { name: 'withTimeout' };
    this.#kc = makeOwn<Timer>(TASK | LIMIT, kernel.wq.softclock, null, pass, this, options);
  }

  /** Starts it; throws if the kernel is closed. */
  start(ms: number, reason: unknown, end: End): void {
    this.#end = end;
    this.#reason = reason;
    resetOrThrow(this.#kc, ms);
  }

  /** Stops it, for the next call. */
  stop(): void {
    this.#kc.stop();
    this.#free();
  }

  pass(): void {
    this._abort(this.#reason);
  }

  /** Ends the wait, because the time has passed or the kernel is closed. */
  _abort(reason: unknown): void {
    const end = this.#end;
    this.#free();
    end?.(reason);
  }

  #free(): void {
    this.#end = null;
    this.#reason = undefined;
    if (this.#pool.length < POOLED) this.#pool.push(this);
    else this.#kc.destroy();
  }
}

function pass(timer: Timer): void {
  timer.pass();
}

/** How calls of a mutex or semaphore with a timeout wait. */
class Patience {
  readonly #sync: MutexInterface | SemaphoreInterface;
  readonly #ms: number;
  readonly #error: Error;
  readonly #kernel: Kernel;
  readonly #pool: Timer[];

  constructor(
    { kernel, pool }: Timers,
    sync: MutexInterface | SemaphoreInterface,
    ms: number,
    error: Error,
  ) {
    this.#sync = sync;
    // As for setTimeout, anything that is no delay is 1 ms; but there is no upper limit.
    this.#ms = ms >= 0 ? Math.min(ms, LONGEST_MS) : 1;
    this.#error = error;
    this.#kernel = kernel;
    this.#pool = pool;
  }

  acquire(weight: number | undefined, priority: number | undefined): Promise<Ticket> {
    return this.#limit<Ticket>((granted, rejected) => {
      const sync = this.#sync;
      if (sync instanceof AsyncLock)
        return sync._request(weight ?? 1, priority ?? 0, granted, rejected);
      return follow(acquireFrom(sync, weight, priority), granted, rejected, ([, release]) =>
        release(),
      );
    });
  }

  waitForUnlock(weight: number | undefined, priority: number | undefined): Promise<void> {
    return this.#limit<void>((unlocked, rejected) => {
      const sync = this.#sync;
      if (!(sync instanceof AsyncLock)) {
        const waited = isSemaphore(sync)
          ? sync.waitForUnlock(weight, priority)
          : sync.waitForUnlock(priority);
        return follow(waited, unlocked, rejected, () => undefined);
      }
      const leave = sync._untilUnlocked(weight ?? 1, priority ?? 0, unlocked);
      return (
        leave &&
        ((reason) => {
          leave();
          rejected(reason);
        })
      );
    });
  }

  /**
   * Begins a wait, and ends it when the time has passed.
   *
   * @param begin - returns a function that ends the wait; null: it is over already
   */
  #limit<T>(begin: (granted: (result: T) => void, rejected: End) => End | null): Promise<T> {
    return new Promise((resolve, reject) => {
      let timer: Timer | null = null;
      const end = begin(
        (result) => {
          timer?.stop();
          resolve(result);
        },
        (reason) => {
          timer?.stop();
          reject(reason);
        },
      );
      if (end === null) return;
      try {
        timer = this.#start(this.#ms, this.#error, (reason) => {
          timer = null;
          end(reason);
          this.#hasLeft();
        });
      } catch (error) {
        // The kernel is closed: there is no time to wait, but a try has its answer.
        end(this.#ms === 0 ? this.#error : error);
      }
    });
  }

  /** After a call has left the queue, others may be unlocked: but not those whose time has passed as well. */
  #hasLeft(): void {
    const sync = this.#sync;
    if (!(sync instanceof AsyncLock && sync._isAwaited)) return;
    try {
      this.#start(0, undefined, () => sync._changed());
    } catch {
      // The kernel is closed.
      sync._changed();
    }
  }

  #start(ms: number, reason: unknown, end: End): Timer {
    const timer = this.#pool.pop() ?? new Timer(this.#kernel, this.#pool);
    timer.start(ms, reason, end);
    return timer;
  }
}

/** Waits for a promise that cannot be withdrawn; `tooLate` gets what it is fulfilled with after the end. */
function follow<T>(
  promise: Promise<T>,
  granted: (result: T) => void,
  rejected: End,
  tooLate: (result: T) => void,
): End {
  let isOver = false;
  promise.then(
    (result) => (isOver ? tooLate : granted)(result),
    (reason: unknown) => void (isOver || rejected(reason)),
  );
  return (reason) => {
    isOver = true;
    rejected(reason);
  };
}

async function acquireFrom(
  sync: MutexInterface | SemaphoreInterface,
  weight: number | undefined,
  priority: number | undefined,
): Promise<Ticket> {
  return isSemaphore(sync) ? sync.acquire(weight, priority) : [0, await sync.acquire(priority)];
}

function isSemaphore(sync: MutexInterface | SemaphoreInterface): sync is SemaphoreInterface {
  return 'getValue' in sync;
}

/** A mutex with a timeout. */
class TimedMutex implements MutexInterface {
  readonly #mutex: MutexInterface;
  readonly #patience: Patience;

  constructor(mutex: MutexInterface, patience: Patience) {
    this.#mutex = mutex;
    this.#patience = patience;
  }

  async acquire(priority?: number): Promise<MutexInterface.Releaser> {
    const [, release] = await this.#patience.acquire(undefined, priority);
    return release;
  }

  async runExclusive<T>(callback: MutexInterface.Worker<T>, priority?: number): Promise<T> {
    const [, release] = await this.#patience.acquire(undefined, priority);
    try {
      return await callback();
    } finally {
      release();
    }
  }

  waitForUnlock(priority?: number): Promise<void> {
    return this.#patience.waitForUnlock(undefined, priority);
  }

  isLocked(): boolean {
    return this.#mutex.isLocked();
  }

  release(): void {
    this.#mutex.release();
  }

  cancel(): void {
    this.#mutex.cancel();
  }
}

/** A semaphore with a timeout. */
class TimedSemaphore implements SemaphoreInterface {
  readonly #semaphore: SemaphoreInterface;
  readonly #patience: Patience;

  constructor(semaphore: SemaphoreInterface, patience: Patience) {
    this.#semaphore = semaphore;
    this.#patience = patience;
  }

  acquire(weight?: number, priority?: number): Promise<[number, SemaphoreInterface.Releaser]> {
    if (weight !== undefined) checkWeight(weight);
    return this.#patience.acquire(weight, priority);
  }

  async runExclusive<T>(
    callback: SemaphoreInterface.Worker<T>,
    weight?: number,
    priority?: number,
  ): Promise<T> {
    const [value, release] = await this.acquire(weight, priority);
    try {
      return await callback(value);
    } finally {
      release();
    }
  }

  waitForUnlock(weight?: number, priority?: number): Promise<void> {
    if (weight !== undefined) checkWeight(weight);
    return this.#patience.waitForUnlock(weight, priority);
  }

  isLocked(): boolean {
    return this.#semaphore.isLocked();
  }

  getValue(): number {
    return this.#semaphore.getValue();
  }

  setValue(value: number): void {
    this.#semaphore.setValue(value);
  }

  release(weight?: number): void {
    this.#semaphore.release(weight);
  }

  cancel(): void {
    this.#semaphore.cancel();
  }
}

/** The timers of one kernel. */
interface Timers {
  readonly kernel: Kernel;
  readonly pool: Timer[];
}

/**
 * Creates a mutex or semaphore with a timeout.
 *
 * @public
 */
export interface WithTimeout {
  /**
   * Creates a mutex whose `acquire`, `runExclusive` and `waitForUnlock` reject after some time.
   *
   * @param mutex - the mutex
   * @param timeout - how long they wait at most, in ms: 0 … 2^53−1. As for setTimeout, other numbers are 1 ms
   * @param timeoutError - what they reject with. Default E_TIMEOUT
   */
  (mutex: MutexInterface, timeout: number, timeoutError?: Error): MutexInterface;
  /**
   * Creates a semaphore whose `acquire`, `runExclusive` and `waitForUnlock` reject after some time.
   *
   * @param semaphore - the semaphore
   * @param timeout - as above
   * @param timeoutError - as above
   */
  (semaphore: SemaphoreInterface, timeout: number, timeoutError?: Error): SemaphoreInterface;
}

/**
 * Creates a mutex or semaphore that does not wait.
 *
 * @public
 */
export interface TryAcquire {
  /**
   * Creates a mutex whose `acquire`, `runExclusive` and `waitForUnlock` reject if they would have to wait.
   *
   * @param mutex - the mutex
   * @param alreadyAcquiredError - what they reject with. Default E_ALREADY_LOCKED
   */
  (mutex: MutexInterface, alreadyAcquiredError?: Error): MutexInterface;
  /**
   * Creates a semaphore whose `acquire`, `runExclusive` and `waitForUnlock` reject if they would have to wait.
   *
   * @param semaphore - the semaphore
   * @param alreadyAcquiredError - as above
   */
  (semaphore: SemaphoreInterface, alreadyAcquiredError?: Error): SemaphoreInterface;
}

/**
 * The functions of this module that wait for time.
 *
 * @public
 */
export interface Timeouts {
  /** As {@link withTimeout}. */
  readonly withTimeout: WithTimeout;
  /** As {@link tryAcquire}. */
  readonly tryAcquire: TryAcquire;
}

/**
 * Creates functions like {@link withTimeout} and {@link tryAcquire} for another kernel.
 *
 * @param kernel - the kernel whose clock they use; by default the process-wide one
 * @returns the two functions
 * @throws KcontError EINVAL for anything but a kernel
 *
 * @example
 * ```ts
 * const clock = new VirtualClock();
 * const { withTimeout } = createTimeouts(new Kernel({ clock }));
 * const mutex = withTimeout(new Mutex(), 100);
 * ```
 *
 * @public
 */
export function createTimeouts(kernel: Kernel = processKernel): Timeouts {
  if (!isA(kernel, Kernel)) throw traceFrom(createTimeouts, invalid('kernel', 'a Kernel', kernel));
  const timers: Timers = { kernel, pool: [] };
  function make(
    sync: MutexInterface | SemaphoreInterface,
    timeout: number,
    error: Error,
  ): MutexInterface | SemaphoreInterface {
    const patience = new Patience(timers, sync, timeout, error);
    return isSemaphore(sync) ? new TimedSemaphore(sync, patience) : new TimedMutex(sync, patience);
  }
  return {
    withTimeout: ((sync: MutexInterface, timeout: number, timeoutError: Error = E_TIMEOUT) =>
      make(sync, timeout, timeoutError)) as WithTimeout,
    tryAcquire: ((sync: MutexInterface, alreadyAcquiredError: Error = E_ALREADY_LOCKED) =>
      make(sync, 0, alreadyAcquiredError)) as TryAcquire,
  };
}

const timeouts = createTimeouts();

/**
 * Creates a mutex or semaphore whose `acquire`, `runExclusive` and `waitForUnlock` reject after some time.
 *
 * @public
 */
export const withTimeout: WithTimeout = timeouts.withTimeout;

/**
 * Creates a mutex or semaphore whose `acquire`, `runExclusive` and `waitForUnlock` reject if they would have to wait.
 *
 * @public
 */
export const tryAcquire: TryAcquire = timeouts.tryAcquire;
