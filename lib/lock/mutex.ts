import { checkFunction } from '../errors.ts';
import { BaseLock, holder, type EnterOptions } from './lock.ts';
import type { Turnstile } from './turnstile.ts';

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
  #held = false;
  /** @internal */
  override _turnstile: Turnstile | null = null;

  /** Whether somebody holds it. */
  override get held(): boolean {
    return this.#held;
  }

  /** @internal */
  override get _open(): boolean {
    return !this.#held;
  }

  /** @internal */
  override _hold(): void {
    this.#held = true;
  }

  /** @internal */
  override _drop(): void {
    this.#held = false;
  }

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
  async hold(options?: EnterOptions): Promise<Disposable> {
    await this._enter(options, Mutex.prototype.hold);
    return holder(this);
  }

  /**
   * Runs a function with the lock held.
   *
   * @param func - called once the lock is held; it is released when the function has settled,
   * also by an error
   * @param options - as for `enter`
   * @returns what the function returns; rejected with what it throws, or as `enter` is
   */
  async run<T>(func: () => T | PromiseLike<T>, options?: EnterOptions): Promise<T> {
    checkFunction(func, 'func', Mutex.prototype.run);
    await this._enter(options, Mutex.prototype.run);
    try {
      return await func();
    } finally {
      this.exit();
    }
  }
}
