/**
 * The functions of NetBSD's kernel continuations proposal (2011), name for name, over the same
 * objects as the classes of `kcont`.
 *
 * @packageDocumentation
 */

import type { Cpu } from './core/cpu.ts';
import { EBUSY, EINVAL, ENOENT, ESHUTDOWN, invalid, isA, traceFrom } from './base/errors.ts';
import type { FastWorkqueue, KcontFunctionOn } from './core/fast-workqueue.ts';
import { Kcont, type KcontFunction } from './core/kcont.ts';
import { kernel } from './core/kernel.ts';
import { DESTROYED } from './core/schedule.ts';
import type { Lock } from './locks/lock.ts';
import { Workqueue } from './core/workqueue.ts';

export { EBUSY, EINVAL, ENOENT };
export { CANCELLED, DRAINING } from './core/kcont.ts';
export {
  PRI_PRIHIGH,
  PRI_PRILOW,
  PRI_PRIMEDHIGH,
  PRI_PRIMEDLOW,
  PRI_SOFTBIO,
  PRI_SOFTCLOCK,
  PRI_SOFTNET,
  PRI_SOFTSERIAL,
} from './base/priorities.ts';

/**
 * Flag of {@link kcont_workqueue_acquire}: a queue for each CPU.
 *
 * @public
 */
export const WQ_PERCPU = 1;

/** The highest of the predefined workqueues; synchronous functions only. @public */
export const wq_softserial: FastWorkqueue = kernel.wq.softserial;
/** For protocol work; synchronous functions only. @public */
export const wq_softnet: FastWorkqueue = kernel.wq.softnet;
/** For completed I/O; synchronous functions only. @public */
export const wq_softbio: FastWorkqueue = kernel.wq.softbio;
/** For timers; synchronous functions only. @public */
export const wq_softclock: FastWorkqueue = kernel.wq.softclock;
/** The highest that takes asynchronous functions. @public */
export const wq_prihigh: Workqueue = kernel.wq.prihigh;
/** Medium high. @public */
export const wq_primedhigh: Workqueue = kernel.wq.primedhigh;
/** Medium low. @public */
export const wq_primedlow: Workqueue = kernel.wq.primedlow;
/** The lowest of the predefined workqueues: bulk work. @public */
export const wq_prilow: Workqueue = kernel.wq.prilow;

/**
 * Makes a continuation.
 *
 * @param wq - its workqueue
 * @param lock - held while the function runs; null: none
 * @param func - called with the argument and the continuation; on `wq_soft…` it returns no promise
 * @param arg - the argument
 * @param flags - 0
 * @returns an idle continuation, an instance of `Kcont`
 * @throws KcontError EINVAL for flags other than 0, and as the constructor of `Kcont` does
 *
 * @public
 */
export function kcont_create<A, R = unknown, W extends Workqueue = Workqueue>(
  wq: W,
  lock: Lock | null,
  func: KcontFunctionOn<W, A, R>,
  arg: A,
  flags: number,
): Kcont<A> {
  try {
    if (flags !== 0) throw invalid('flags', '0', flags);
    return new Kcont(wq, lock, func, arg);
  } catch (error) {
    throw traceFrom(kcont_create, error);
  }
}

/**
 * Schedules a continuation.
 *
 * @param kc - the continuation
 * @param ci - the CPU to run on, for workqueues with WQ_PERCPU; null: any
 * @param nticks - delay in ticks of 1 ms, 0 … 2^53-1; 0: no delay
 * @returns 0: scheduled; EBUSY: it is INVOKING, a halt waits, the kernel is in the grace of `close`, or
 * is closed while a run of it is in flight; ENOENT: `ci` on a workqueue without WQ_PERCPU; EINVAL: a
 * bad delay or CPU, a destroyed continuation or a closed kernel. But for 0, nothing has changed
 *
 * @public
 */
export function kcont_schedule<A>(kc: Kcont<A>, ci: Cpu | null, nticks: number): number {
  const errno = kc._schedule(nticks, ci);
  return errno === ESHUTDOWN || errno === DESTROYED ? EINVAL : errno;
}

/**
 * Stops a continuation for good. See {@link KcontHandle.destroy | Kcont.destroy}.
 *
 * @param kc - the continuation
 *
 * @public
 */
export function kcont_destroy<A>(kc: Kcont<A>): void {
  kc.destroy();
}

/**
 * The lock of a continuation.
 *
 * @param kc - the continuation
 * @returns its lock; null: none
 *
 * @public
 */
export function kcont_getmutex<A>(kc: Kcont<A>): Lock | null {
  return kc.lock;
}

/**
 * Changes the argument. See {@link KcontHandle.setArg | Kcont.setArg}.
 *
 * @param kc - the continuation, its lock held if it has one
 * @param arg - the new argument
 * @throws KcontError EPERM if the lock is not held, EINVAL if destroyed
 *
 * @public
 */
export function kcont_setarg<A>(kc: Kcont<A>, arg: A): void {
  try {
    kc.setArg(arg);
  } catch (error) {
    throw traceFrom(kcont_setarg, error);
  }
}

/**
 * Changes the lock. See {@link KcontHandle.setLock | Kcont.setLock}.
 *
 * @param kc - the continuation, its lock held
 * @param lock - the new lock; null: none
 * @returns the lock so far
 * @throws KcontError EINVAL for a lock where there was none, or if destroyed; EPERM if the lock is
 * not held
 *
 * @public
 */
export function kcont_setmutex<A>(kc: Kcont<A>, lock: Lock | null): Lock | null {
  try {
    return kc.setLock(lock);
  } catch (error) {
    throw traceFrom(kcont_setmutex, error);
  }
}

/**
 * The other spelling of {@link kcont_setmutex} in the proposal.
 *
 * @public
 */
export const kcont_set_mutex: typeof kcont_setmutex = kcont_setmutex;

/**
 * Changes the function and the argument. See {@link KcontHandle.setFunc | Kcont.setFunc}.
 *
 * @param kc - the continuation, its lock held if it has one
 * @param func - the new function; without a lock only the present one
 * @param arg - the new argument
 * @throws KcontError EINVAL for another function where there is no lock, or if destroyed; EPERM if
 * the lock is not held
 *
 * @public
 */
export function kcont_setfunc<A>(kc: Kcont<A>, func: KcontFunction<A>, arg: A): void {
  try {
    kc.setFunc(func, arg);
  } catch (error) {
    throw traceFrom(kcont_setfunc, error);
  }
}

/**
 * Stops a continuation, at once and for certain. See {@link KcontHandle.stop | Kcont.stop}.
 *
 * @param kc - the continuation
 * @returns false: it is not running and will not run; true: it was EXPIRED, or is running
 *
 * @public
 */
export function kcont_stop<A>(kc: Kcont<A>): boolean {
  return kc.stop();
}

/**
 * Tests PENDING.
 *
 * @param kc - the continuation
 * @returns whether its timer runs
 *
 * @public
 */
export function kcont_pending<A>(kc: Kcont<A>): boolean {
  return kc.pending;
}

/**
 * Tests whether the function has been invoked since the last schedule.
 *
 * @param kc - the continuation
 * @returns whether it has been entered, and not been stopped since
 *
 * @public
 */
export function kcont_expired<A>(kc: Kcont<A>): boolean {
  return kc.expired;
}

/**
 * Tests PENDING, INVOKING and EXPIRED together.
 *
 * @param kc - the continuation
 * @returns whether any of them is set
 *
 * @public
 */
export function kcont_active<A>(kc: Kcont<A>): boolean {
  return kc.active;
}

/**
 * Tests INVOKING.
 *
 * @param kc - the continuation
 * @returns whether it is committed to run, or runs without having acknowledged
 *
 * @public
 */
export function kcont_invoking<A>(kc: Kcont<A>): boolean {
  return kc.invoking;
}

/**
 * Clears INVOKING during a run. See {@link KcontHandle.ack | Kcont.ack}.
 *
 * @param kc - the continuation
 * @returns whether it was set by the run in flight
 *
 * @public
 */
export function kcont_ack<A>(kc: Kcont<A>): boolean {
  return kc.ack();
}

/**
 * Stops a continuation, and waits for a run in flight. See {@link KcontHandle.halt | Kcont.halt}.
 *
 * @param kc - the continuation
 * @param interlock - released while waiting, held again after
 * @returns a promise of whether there was a run to wait for
 *
 * @public
 */
export function kcont_halt<A>(kc: Kcont<A>, interlock?: Lock): Promise<boolean> {
  return kc._halt(interlock, kcont_halt);
}

/**
 * Stops a continuation, and calls back when a run in flight has settled. See
 * {@link KcontHandle.drainAsync | Kcont.drainAsync}.
 *
 * @param kc - the continuation
 * @param fn - called with the argument, if there is something to wait for
 * @returns true: idle now, `fn` is not called; false: it will be
 *
 * @public
 */
export function kcont_drain_async<A>(kc: Kcont<A>, fn: (arg: A) => void): boolean {
  try {
    return kc.drainAsync(fn);
  } catch (error) {
    throw traceFrom(kcont_drain_async, error);
  }
}

/**
 * Stops a continuation, and tells both what was withdrawn and what runs. See {@link KcontHandle.cancel | Kcont.cancel}.
 *
 * @param kc - the continuation
 * @returns CANCELLED and DRAINING bits
 *
 * @public
 */
export function kcont_cancel<A>(kc: Kcont<A>): number {
  return kc.cancel();
}

/**
 * The workqueue for a priority: the same one whoever asks.
 *
 * @param pri - 0 … 223, see PRI_SOFTSERIAL … PRI_PRILOW
 * @param flags - 0, or WQ_PERCPU
 * @returns the workqueue
 * @throws KcontError EINVAL for a priority or flags out of range
 *
 * @public
 */
export function kcont_workqueue_acquire(pri: number, flags: number): Workqueue {
  try {
    if (flags !== 0 && flags !== WQ_PERCPU) throw invalid('flags', '0 or WQ_PERCPU', flags);
    return kernel.acquire(pri, { perCpu: flags === WQ_PERCPU });
  } catch (error) {
    throw traceFrom(kcont_workqueue_acquire, error);
  }
}

/**
 * Gives back a workqueue. The last release, with no continuation and no run in flight left, frees it.
 *
 * @param wq - the workqueue
 * @returns 0; EINVAL: it was released more often than acquired, or is none
 *
 * @public
 */
export function kcont_workqueue_release(wq: Workqueue): number {
  return isA(wq, Workqueue) && wq._release() ? 0 : EINVAL;
}
