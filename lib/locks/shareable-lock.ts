import { BaseLock } from './lock.ts';
import type { Turnstile, Waiter } from './turnstile.ts';

/**
 * The base class of locks that several can hold, so that one can be open while somebody waits for more.
 *
 * @remarks
 * Nobody passes a waiter of the same or a higher priority, even if the lock is open. So a waiter that needs
 * more than is free is not starved by those that need less.
 *
 * Applications use {@link Semaphore} or the read side of an RWLock, and do not extend this class.
 *
 * @public
 */
export abstract class ShareableLock extends BaseLock {
  /** @internal */
  override _takeFor(waiter: Waiter): boolean {
    const turnstile = this._turnstile;
    if (turnstile === null) return super._takeFor(waiter);
    if (turnstile.bestOutranks(waiter) || !super._takeFor(waiter)) return false;
    // There may be enough for the next waiter, too.
    turnstile.wake();
    return true;
  }

  /** @internal */
  override _mustQueue(turnstile: Turnstile, priority: number): boolean {
    return super._mustQueue(turnstile, priority) || turnstile.bestGoesBefore(priority);
  }
}
