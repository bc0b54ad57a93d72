import { holdLock, runLocked, type EnterOptions } from '../../locks/lock.ts';
import { MUTEX } from './arena.ts';
import type { ThreadGate } from './thread-gate.ts';
import { SharedLock, newGate } from './shared-lock.ts';

/**
 * A mutual exclusion lock between CPUs.
 *
 * @remarks
 * Has all that a {@link Mutex} has, for threads: given to a continuation it is taken before the
 * function and released when that settles, on whichever CPU that is. Make it on one CPU and pass it to
 * the others as an argument; each `new` makes another lock.
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
  /** Makes a lock that nobody holds. It takes shared memory when it first leaves its thread. */
  constructor();
  /** @internal */
  constructor(gate: ThreadGate);
  constructor(gate: ThreadGate = newGate(MUTEX)) {
    super(gate);
    gate.lock = this;
  }

  /**
   * Waits for the lock, for use with `using`.
   *
   * @param options - as for `enter`
   * @returns a promise of what releases the lock when it is disposed; disposing it twice releases
   * once
   */
  hold(options?: EnterOptions): Promise<Disposable> {
    return holdLock(this, options, SharedMutex.prototype.hold);
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
    return runLocked(this, func, options, SharedMutex.prototype.run);
  }
}
