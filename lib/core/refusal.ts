/*
 * Checks of the operations of a handle, except for scheduling, which is in schedule.ts.
 */

import { Dispatcher } from './dispatcher.ts';
import { KcontError, invalid, traceFrom, type Caller } from '../base/errors.ts';
import type { Kcont } from './kcont.ts';
import type { Lock } from '../locks/lock.ts';
import { isLock } from '../locks/lock-check.ts';
import { label } from './schedule.ts';
import type { Workqueue } from './workqueue.ts';

/** Throws if the value is not a workqueue, or if the workqueue has been freed. */
export function checkWorkqueue(wq: unknown): asserts wq is Workqueue {
  if (!isWorkqueue(wq)) throw invalid('wq', 'a Workqueue', wq);
  if (wq._freed) throw new KcontError('EINVAL', `workqueue ${wq.name} has been released`);
}

/** Whether a value is a workqueue; false for a revoked proxy. */
export function isWorkqueue(wq: unknown): wq is Workqueue {
  try {
    return (wq as Workqueue | null | undefined)?._dispatcher instanceof Dispatcher;
  } catch {
    // The value is a revoked proxy.
    return false;
  }
}

/** Throws if a value cannot be the interlock of a halt. */
export function checkInterlock<A>(kc: Kcont<A>, interlock: Lock): void {
  if (!isLock(interlock)) throw invalid('interlock', 'a Lock of kcont', interlock);
  if (interlock.held) return;
  throw new KcontError('EPERM', `halt of ${label(kc)} needs an interlock that is held`);
}

/** Throws if a handle was destroyed, or its lock is not held. */
export function mayChange<A>(kc: Kcont<A>, what: string, caller: Caller): void {
  if (kc.destroyed) {
    throw traceFrom(caller, new KcontError('EINVAL', `${label(kc)} was destroyed`));
  }
  if (kc._lock !== null && !kc._lock.held) {
    const why = `the lock of ${label(kc)} must be held for ${what}`;
    throw traceFrom(caller, new KcontError('EPERM', why));
  }
}
