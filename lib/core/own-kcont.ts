/*
 * Continuations that the library itself creates, for `run`, timers, deadlines, tasks and items.
 */

import { KcontError } from '../base/errors.ts';
import { nothing } from '../base/nothing.ts';
import { Kcont, type KcontFunction } from './kcont.ts';
import type { BaseLock, Lock } from '../locks/lock.ts';
import type { KcontOptions } from './options.ts';
import { label } from './schedule.ts';
import { LIMIT } from './state.ts';
import type { Workqueue } from './workqueue.ts';

/**
 * Creates a continuation for the library's own use.
 *
 * @param bits - permanent state bits: TASK, NAMED, LIMIT, QUIET, UNREF
 *
 * @internal
 */
export function makeOwn<A>(
  bits: number,
  wq: Workqueue,
  lock: Lock | null,
  func: KcontFunction<A>,
  arg: A,
  options?: KcontOptions,
): Kcont<A> {
  const kc = new Kcont<A>(wq, lock, func, arg, options);
  kc._state |= bits;
  return kc;
}

/**
 * Creates a destroyed continuation, with which an error is reported that has no other.
 *
 * @param wq - if it has been destroyed, `prilow` of its kernel is used instead
 *
 * @internal
 */
export function makeStandIn(wq: Workqueue, name: string): Kcont<undefined> {
  const live = wq._freed ? wq.kernel.wq.prilow : wq;
  const kc = new Kcont(live, null, nothing, undefined, { name });
  kc.destroy();
  return kc;
}

/**
 * Lets it outlast the grace of a shutdown, because a run in flight may be waiting for it.
 *
 * @internal
 */
export function outlastGrace<A>(kc: Kcont<A>): void {
  kc._state |= LIMIT;
}

/**
 * Gives an idle continuation another workqueue of the same kernel, another lock and function.
 *
 * @internal
 */
export function repoint<A>(
  kc: Kcont<A>,
  wq: Workqueue,
  lock: BaseLock | null,
  func: KcontFunction<A>,
): void {
  if (kc.busy || kc.destroyed) throw new KcontError('EBUSY', `${label(kc)} is not idle`);
  wq._references++;
  kc._wq._dereference();
  kc._wq = wq;
  kc._lock = lock;
  kc._func = func;
}
