import { AsyncLock } from './async-lock.ts';
import type { MutexInterface } from './mutex-interface.ts';

/**
 * The mutex of async-mutex.
 *
 * @remarks
 * It is also a lock of kcont: a continuation that has it as its lock and code that calls `runExclusive` exclude each other.
 *
 * @example
 * ```ts
 * const mutex = new Mutex();
 * const flush = new Kcont(wq.prilow, mutex, flushLog, log);
 * await mutex.runExclusive(() => rotate(log)); // never while a flush is under way
 * ```
 *
 * @public
 */
export class Mutex extends AsyncLock implements MutexInterface {
  /**
   * Creates a mutex that is not locked.
   *
   * @param cancelError - what `cancel` rejects with. Default E_CANCELED
   */
  constructor(cancelError?: Error) {
    super(1, cancelError);
  }

  /**
   * Waits for the mutex and locks it.
   *
   * @param priority - any number: higher priorities first, equal ones in the order of the calls. Default 0
   * @returns a promise of a function that unlocks it, once; rejected by `cancel`
   */
  acquire(priority: number = 0): Promise<MutexInterface.Releaser> {
    return new Promise((resolve, reject) => {
      this._request(1, priority, ([, release]) => resolve(release), reject);
    });
  }

  /**
   * Runs a function while the mutex is locked.
   *
   * @param callback - called when the mutex is locked; it is unlocked when the function has settled
   * @param priority - as for `acquire`
   * @returns a promise of the function's result; rejected with what it throws, and by `cancel`
   */
  async runExclusive<T>(callback: MutexInterface.Worker<T>, priority: number = 0): Promise<T> {
    const release = await this.acquire(priority);
    try {
      return await callback();
    } finally {
      release();
    }
  }

  /**
   * Waits until the mutex could be locked, without locking it.
   *
   * @param priority - as for `acquire`: calls of `acquire` of the same or a higher priority go first
   * @returns a promise that is fulfilled then; `cancel` does not reject it
   */
  waitForUnlock(priority: number = 0): Promise<void> {
    return new Promise((resolve) => {
      this._untilUnlocked(1, priority, resolve);
    });
  }

  /** Unlocks the mutex; does nothing if it is not locked. */
  release(): void {
    this._release();
  }

  /** @internal */
  override _release(): boolean {
    return this.isLocked() && super._release();
  }
}
