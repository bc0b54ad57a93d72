/*
 * The core's view of locks. It does not import their code, so bundles of applications without locks do
 * not contain it.
 */

import { check, kindOf, type Kind } from '../base/options-check.ts';
import type { BaseLock } from './lock.ts';

/**
 * Tells whether a value is a lock of kcont.
 *
 * @internal
 */
export function isLock(value: unknown): value is BaseLock {
  try {
    return typeof (value as Partial<BaseLock> | null | undefined)?._takeFor === 'function';
  } catch {
    // The value is a revoked proxy.
    return false;
  }
}

/**
 * The check of an option that is a lock or null.
 *
 * @internal
 */
export const LOCK: Kind = kindOf(
  'null or a lock of kcont',
  (lock) => lock === null || isLock(lock),
);

/**
 * Checks that a value is a lock of kcont, or null.
 *
 * @internal
 */
export function checkLock(lock: unknown): asserts lock is BaseLock | null {
  if (lock !== null) check('lock', LOCK, lock);
}

/**
 * Releases the lock that a continuation took. False: the lock was not held.
 *
 * @internal
 */
export function release(lock: BaseLock | null): boolean {
  return lock === null || lock._release();
}
