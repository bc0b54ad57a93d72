/*
 * What locks tell the inheritance of priorities, which `core/inheritance.ts` implements: the locks import
 * nothing of the core. All calls but those of `takeHolder` are on the way of code that has to wait.
 */

import { nothing } from '../base/nothing.ts';
import type { Awaiter, BaseLock } from './lock.ts';

/** What is known of code that waits for a lock on behalf of a run. */
export interface LockWait {
  /** The priority that it has inherited; -1: none. */
  readonly level: number;
}

/** A holder of a lock that awaits something. */
export interface LockHolder {
  /** The highest priority of those who wait for the lock; -1: nobody waits. */
  readonly inherited: number;
}

/** The functions of `core/inheritance.ts`. */
export const inheriting: {
  /** Code has begun to wait for a lock. Sets its `_awaited`, if it is known on whose behalf. */
  begin: (awaiter: Awaiter) => void;
  /** The wait is over. */
  end: (wait: LockWait) => void;
  /** The waiters of a lock have changed: `isMore`: there are more. Null: no holder that awaits something has been known yet. */
  changed: ((lock: BaseLock, isMore: boolean) => void) | null;
  /** The function of a holder has settled, and its lock is about to be released. */
  settled: (holder: LockHolder) => void;
  /** The lock of the function on the stack that `run` of the lock has called; null: none. */
  lock: BaseLock | null;
  /** That function as a holder; null: it has begun to wait for nothing. */
  holder: LockHolder | null;
  /** How many waiters and continuations have inherited a priority. */
  count: number;
} = {
  begin: nothing,
  end: nothing,
  changed: null,
  settled: nothing,
  lock: null,
  holder: null,
  count: 0,
};

/**
 * Takes what is known of the function that was called while `inheriting.lock` was set: by its caller, at once after the
 * call. No other call can be in between.
 */
export function takeHolder(): LockHolder | null {
  const { holder } = inheriting;
  inheriting.lock = null;
  if (holder !== null) inheriting.holder = null;
  return holder;
}
