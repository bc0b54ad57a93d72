import { AsyncLock, checkWeight } from './async-lock.ts';
import type { SemaphoreInterface } from './semaphore-interface.ts';

/**
 * The semaphore of async-mutex.
 *
 * @remarks
 * It is also a lock of kcont, which takes one unit: it limits continuations, and code that calls `runExclusive`, together.
 *
 * @example
 * ```ts
 * const semaphore = new Semaphore(4);
 * await semaphore.runExclusive((value) => fetchPage(url), 2); // takes two units
 * ```
 *
 * @public
 */
export class Semaphore extends AsyncLock implements SemaphoreInterface {
  /**
   * Waits for units and takes them.
   *
   * @param weight - how many: a number above 0. Default 1
   * @param priority - any number: higher priorities first, equal ones in the order of the calls. Default 0
   * @returns a promise of the value before, and of a function that gives the units back, once; rejected by `cancel`
   * @throws Error for a weight that is not positive
   */
  acquire(
    weight: number = 1,
    priority: number = 0,
  ): Promise<[number, SemaphoreInterface.Releaser]> {
    checkWeight(weight);
    return new Promise((resolve, reject) => {
      this._request(weight, priority, resolve, reject);
    });
  }

  /**
   * Runs a function while units are taken.
   *
   * @param callback - called when the units are taken, with the value before; they are given back when it has settled
   * @param weight - as for `acquire`
   * @param priority - as for `acquire`
   * @returns a promise of the function's result; rejected with what it throws, by `cancel`, and for a weight that is not
   * positive
   */
  async runExclusive<T>(
    callback: SemaphoreInterface.Worker<T>,
    weight: number = 1,
    priority: number = 0,
  ): Promise<T> {
    const [value, release] = await this.acquire(weight, priority);
    try {
      return await callback(value);
    } finally {
      release();
    }
  }

  /**
   * Waits until units could be taken, without taking them.
   *
   * @param weight - as for `acquire`
   * @param priority - as for `acquire`: calls of `acquire` of the same or a higher priority go first
   * @returns a promise that is fulfilled then; `cancel` does not reject it
   * @throws Error for a weight that is not positive
   */
  waitForUnlock(weight: number = 1, priority: number = 0): Promise<void> {
    checkWeight(weight);
    return new Promise((resolve) => {
      this._untilUnlocked(weight, priority, resolve);
    });
  }

  /** Returns the number of free units; negative if more than there are have been taken. */
  getValue(): number {
    return this.value;
  }

  /**
   * Sets the number of free units. Units that are held now are added to it when they are given back.
   *
   * @param value - any number
   */
  setValue(value: number): void {
    this._set(value, this.capacity + value - this.value);
  }

  /**
   * Adds free units, whether they were taken or not.
   *
   * @param weight - how many: a number above 0. Default 1
   * @throws Error for a weight that is not positive
   */
  release(weight: number = 1): void {
    checkWeight(weight);
    this._give(weight);
  }
}
