/**
 * What `Mutex`, and a mutex with a timeout, implement.
 *
 * @public
 */
export interface MutexInterface {
  /** Waits for the mutex and locks it. Returns a promise of a function that unlocks it, once. */
  acquire(priority?: number): Promise<MutexInterface.Releaser>;
  /** Runs a function while the mutex is locked. Returns a promise of its result. */
  runExclusive<T>(callback: MutexInterface.Worker<T>, priority?: number): Promise<T>;
  /** Waits until the mutex could be locked at that priority, without locking it. */
  waitForUnlock(priority?: number): Promise<void>;
  /** Whether it is locked. */
  isLocked(): boolean;
  /** Unlocks it; does nothing if it is not locked. */
  release(): void;
  /** Rejects all calls of `acquire` and `runExclusive` that wait. */
  cancel(): void;
}

/**
 * Types that belong to the interface of the same name.
 *
 * @public
 */
export declare namespace MutexInterface {
  /** Unlocks the mutex; has no effect when it is called again. */
  export type Releaser = () => void;
  /** A function that is run while the mutex is locked. */
  export type Worker<T> = () => Promise<T> | T;
}
