import { holdLock, runLocked, type EnterOptions } from '../../locks/lock.ts';
import { MUTEX } from './arena.ts';
import type { LockOptions } from '../../locks/lock-names.ts';
import type { ThreadGate } from './thread-gate.ts';
import { SharedLock, gateIn, newGate } from './shared-lock.ts';

/**
 * A mutual exclusion lock between CPUs.
 *
 * @remarks
 * It does for threads what a {@link Mutex} does for one thread. The lock of a continuation is taken
 * before its function is called and released when that settles, on whichever CPU it runs. Make the lock
 * on one CPU and pass it to the others as an argument; each `new` makes another lock.
 *
 * @example
 * ```ts
 * const lock = new SharedMutex();
 * await lock.run(() => rewrite(table)); // on no other CPU meanwhile
 * ```
 *
 * @public
 */
export class SharedMutex extends SharedLock {
  /**
   * Makes a free lock. It takes shared memory when it is first sent to another thread.
   *
   * @param options - optional settings: a name, which is not sent to other threads
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: LockOptions);
  /** @internal */
  constructor(gate: ThreadGate);
  constructor(given?: ThreadGate | LockOptions) {
    const gate = gateIn(given);
    super(
      gate ?? newGate(MUTEX),
      gate === undefined ? (given as LockOptions | undefined) : undefined,
    );
    this._gate.lock = this;
  }

  /**
   * Waits for the lock and returns a disposable, for use with `using`.
   *
   * @param options - as for `enter`
   * @returns a promise of an object that releases the lock when it is disposed; disposing it twice
   * releases the lock once
   */
  hold(options?: EnterOptions): Promise<Disposable> {
    return holdLock(this, options, SharedMutex.prototype.hold);
  }

  /**
   * Runs a function with the lock held.
   *
   * @param func - called when the lock is held; the lock is released when the function has settled,
   * also with an error
   * @param options - as for `enter`
   * @returns what the function returns; rejected with what it throws, or as `enter` is
   */
  run<T>(func: () => T | PromiseLike<T>, options?: EnterOptions): Promise<T> {
    return runLocked(this, func, options, SharedMutex.prototype.run);
  }
}
