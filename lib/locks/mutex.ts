import { BaseLock, holdLock, runLocked, type EnterOptions } from './lock.ts';

/**
 * A mutual exclusion lock.
 *
 * @remarks
 * The framework takes it before a continuation's function and releases it when that settles, also
 * across `await`. Other code shares it by {@link Mutex.run}, {@link Mutex.hold} or `enter` and
 * `exit`.
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
   * @returns a promise of what releases the lock when it is disposed; disposing it twice releases
   * once
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
   * @param func - called once the lock is held; it is released when the function has settled,
   * also by an error
   * @param options - as for `enter`
   * @returns what the function returns; rejected with what it throws, or as `enter` is
   */
  run<T>(func: () => T | PromiseLike<T>, options?: EnterOptions): Promise<T> {
    return runLocked(this, func, options, Mutex.prototype.run);
  }
}
