/*
 * What the core asks of a lock, without the code of one: an application that uses none is bundled with none.
 */

import { check, kindOf, type Kind } from '../base/options-check.ts';
import type { BaseLock } from './lock.ts';

/**
 * Whether a value is a lock of ours.
 *
 * @internal
 */
export function isLock(value: unknown): value is BaseLock {
  try {
    return typeof (value as Partial<BaseLock> | null | undefined)?._takeFor === 'function';
  } catch {
    // A proxy that was revoked.
    return false;
  }
}

/**
 * What a lock has to be: one of ours, or null.
 *
 * @internal
 */
export const LOCK: Kind = kindOf(
  'null, a Mutex, a SpinLock, or the read or write side of an RWLock or RMLock',
  (lock) => lock === null || isLock(lock),
);

/**
 * Checks that a value is a lock of ours, or null.
 *
 * @internal
 */
export function checkLock(lock: unknown): asserts lock is BaseLock | null {
  if (lock !== null) check('lock', LOCK, lock);
}

/**
 * Releases what a continuation has taken. False: there is a lock, and nobody held it.
 *
 * @internal
 */
export function release(lock: BaseLock | null): boolean {
  return lock === null || lock._release();
}
