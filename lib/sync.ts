/**
 * Semaphores, condition variables, events, and a lock for each key.
 *
 * @packageDocumentation
 */

export { AsyncEvent, type AsyncEventOptions } from './locks/async-event.ts';
export { Condition } from './locks/condition.ts';
export { KeyedLocks } from './locks/keyed-locks.ts';
export { Semaphore, type SemaphoreEnterOptions } from './locks/semaphore.ts';
export { ShareableLock } from './locks/shareable-lock.ts';
