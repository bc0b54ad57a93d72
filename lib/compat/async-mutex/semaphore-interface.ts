/**
 * What `Semaphore`, and a semaphore with a timeout, implement.
 *
 * @public
 */
export interface SemaphoreInterface {
  /**
   * Waits for units and takes them. Returns a promise of the value before, and of a function that gives them back, once.
   */
  acquire(weight?: number, priority?: number): Promise<[number, SemaphoreInterface.Releaser]>;
  /** Runs a function while units are taken; it gets the value before. Returns a promise of its result. */
  runExclusive<T>(
    callback: SemaphoreInterface.Worker<T>,
    weight?: number,
    priority?: number,
  ): Promise<T>;
  /** Waits until units could be taken at that priority, without taking them. */
  waitForUnlock(weight?: number, priority?: number): Promise<void>;
  /** Whether the value is 0 or less. */
  isLocked(): boolean;
  /** The number of units that are free. */
  getValue(): number;
  /** Sets the number of units that are free. */
  setValue(value: number): void;
  /** Adds free units. */
  release(weight?: number): void;
  /** Rejects all calls of `acquire` and `runExclusive` that wait. */
  cancel(): void;
}

/**
 * Types that belong to the interface of the same name.
 *
 * @public
 */
export declare namespace SemaphoreInterface {
  /** Gives units back; has no effect when it is called again. */
  export type Releaser = () => void;
  /** A function that is run while units are taken. */
  export type Worker<T> = (value: number) => Promise<T> | T;
}
