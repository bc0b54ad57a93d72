import { BaseLock, holdLock, runLocked, type EnterOptions } from './lock.ts';

/**
 * A mutual exclusion lock.
 *
 * @remarks
 * The library takes it before it calls a continuation's function and releases it when the function has
 * settled; it stays held across `await`. Other code uses {@link Mutex.run}, {@link Mutex.hold}, or
 * `enter` and `exit`.
 *
 * @example
 * ```ts
 * const lock = new Mutex();
 * const flush = new Kcont(wq.prilow, lock, async (log) => log.flush(), log);
 * await lock.run(() => log.rotate()); // never while a flush is under way
 * ```
 *
 * @public
 */
export class Mutex extends BaseLock {
  /**
   * Waits for the lock, for use with `using`.
   *
   * @param options - as for `enter`
   * @returns a promise of a disposable that releases the lock; disposing it again has no effect
   *
   * @example
   * ```ts
   * using held = await lock.hold();
   * ```
   */
  hold(options?: EnterOptions): Promise<Disposable> {
    return holdLock(this, options, Mutex.prototype.hold);
  }

  /**
   * Runs a function with the lock held.
   *
   * @param func - called when the lock is held; the lock is released when the function has settled,
   * including when it throws or rejects
   * @param options - as for `enter`
   * @returns a promise of what the function returns; rejected with what it throws, and as `enter` is
   */
  run<T>(func: () => T | PromiseLike<T>, options?: EnterOptions): Promise<T> {
    return runLocked(this, func, options, Mutex.prototype.run);
  }
}
