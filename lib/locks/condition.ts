/*
 * A condition variable.
 *
 *   lock held --wait--> waiting, lock free --notify--> queued for the lock --> lock held
 *                           |  aborted ------------------->  the same, then rejected
 *
 * A waiter that is notified queues for the lock at once, in the call of `notify`, and not when its promise has
 * settled. So waiters get the lock in the order in which they were notified, before code that asks for it later.
 * Whatever ends the wait, the caller holds the lock afterwards.
 *
 * Source: C. A. R. Hoare, "Monitors: An Operating System Structuring Concept", 1974, with the signal-and-continue
 * semantics of Mesa (Lampson and Redell, 1980): `notify` does not give the lock away, so the condition has to be tested
 * again after the wait.
 */

import { KcontError, checkFunction, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { SIGNAL, check, integerOf, kindOf, optionsOf, readOptions } from '../base/options-check.ts';
import { PRIORITY } from '../base/priorities.ts';
import { isLock } from './lock-check.ts';
import type { BaseLock, EnterOptions, Lock } from './lock.ts';
import { WaitList } from './wait-list.ts';

const WAIT = optionsOf<EnterOptions>('wait', { signal: SIGNAL, priority: PRIORITY });
const A_LOCK = kindOf('a lock of kcont', isLock);
const COUNT = integerOf('an integer from 0 to 2^53-1', 0, Number.MAX_SAFE_INTEGER);

/**
 * A condition variable: code that holds a lock waits until other code has changed what the lock protects.
 *
 * @example
 * ```ts
 * const lock = new Mutex();
 * const filled = new Condition(lock);
 * const take = () => lock.run(async () => {
 *   await filled.waitFor(() => items.length > 0);    // releases the lock meanwhile
 *   return items.shift();
 * });
 * const put = (item) => lock.run(() => {
 *   items.push(item);
 *   filled.notify();
 * });
 * ```
 *
 * @public
 */
export class Condition {
  static readonly #line: (condition: Condition) => string =
    /* @__PURE__ */ defineInspect<Condition>(
      this,
      ({ waiting }, name) => `${name} { ${waiting} waiting }`,
      ({ waiting }) => ({ waiting }),
    );
  readonly #lock: BaseLock;
  readonly #waiters = new WaitList();

  /**
   * Creates a condition of what a lock protects.
   *
   * @param lock - a Mutex or another lock of kcont. A lock can have several conditions
   * @throws KcontError EINVAL for anything else
   */
  constructor(lock: Lock) {
    check('lock', A_LOCK, lock, new.target);
    this.#lock = lock as BaseLock;
  }

  /** The lock that callers of `wait` hold. */
  get lock(): Lock {
    return this.#lock;
  }

  /** The number of calls of `wait` and `waitFor` that have not been notified. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * Releases the lock, waits to be notified, and takes the lock again. The caller must hold the lock. No notification is
   * lost between the release and the wait.
   *
   * @param options - optional settings: a signal that ends the wait, and the priority at which to wait for the lock
   * afterwards
   * @returns a promise, fulfilled when the caller has been notified and holds the lock again. Rejected with the signal's
   * reason if that is aborted before the notification: also then the caller holds the lock again. An abort after
   * the notification, while the caller waits for the lock, is ignored. If the signal is aborted already, if an
   * option is invalid (KcontError EINVAL) or the lock is not held (EPERM), it is rejected and the lock is not released
   */
  wait(options?: EnterOptions): Promise<void> {
    const caller = Condition.prototype.wait;
    try {
      const { signal, priority } = readOptions(options, WAIT, caller);
      return this.#wait(signal, priority, caller);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Waits until a test succeeds. The caller must hold the lock, and holds it whenever the test is called.
   *
   * @param test - called at once, and after each notification. A true result ends the wait
   * @param options - as for `wait`
   * @returns a promise, fulfilled when the test has succeeded. Rejected as `wait`, and with what the test throws: also
   * then the caller holds the lock
   */
  async waitFor(test: () => boolean, options?: EnterOptions): Promise<void> {
    const caller = Condition.prototype.waitFor;
    checkFunction(test, 'test', caller);
    const { signal, priority } = readOptions(options, WAIT, caller);
    while (!test()) await this.#wait(signal, priority, caller);
  }

  /**
   * Ends waits, in the order of the calls of `wait`. Those who waited queue for the lock at once. The caller should hold
   * the lock, but need not.
   *
   * @param count - how many waits to end at most: an integer, 0 or more. Default 1
   * @returns how many were ended
   * @throws KcontError EINVAL for an invalid count
   */
  notify(count: number = 1): number {
    check('count', COUNT, count, Condition.prototype.notify);
    let notified = 0;
    while (notified < count && this.#waiters.serve()) notified++;
    return notified;
  }

  /**
   * Ends all waits, in the order of the calls of `wait`.
   *
   * @returns how many were ended
   */
  notifyAll(): number {
    return this.notify(Number.MAX_SAFE_INTEGER);
  }

  #wait(
    signal: AbortSignal | undefined,
    priority: number | undefined,
    caller: Caller,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const lock = this.#lock;
      if (!lock.held) {
        const what = `wait for a condition of a ${lock.constructor.name} that is not held`;
        throw traceFrom(caller, new KcontError('EPERM', what));
      }
      const served = (): void => resolve(lock._await(undefined, priority, false));
      const aborted = (reason: unknown): void => {
        // oxlint-disable-next-line prefer-promise-reject-errors -- the reason is the caller's
        void lock._await(undefined, priority, false).then(() => reject(reason));
      };
      this.#waiters.add(signal, served, aborted);
      lock._release();
    });
  }

  /** @internal */
  toString(): string {
    return Condition.#line(this);
  }
}
