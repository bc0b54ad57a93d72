/**
 * The API of async-mutex 0.5, on locks of kcont.
 *
 * @packageDocumentation
 */

export { AsyncLock } from './async-lock.ts';
export { E_ALREADY_LOCKED, E_CANCELED, E_TIMEOUT } from './errors.ts';
export { Mutex } from './mutex.ts';
export type { MutexInterface } from './mutex-interface.ts';
export { Semaphore } from './semaphore.ts';
export type { SemaphoreInterface } from './semaphore-interface.ts';
export {
  createTimeouts,
  tryAcquire,
  withTimeout,
  type Timeouts,
  type TryAcquire,
  type WithTimeout,
} from './with-timeout.ts';
