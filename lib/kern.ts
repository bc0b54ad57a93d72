/**
 * The functions of NetBSD's kernel continuations proposal (2011), under their original names. They use
 * the same objects as the classes of `kcont`.
 *
 * @packageDocumentation
 */

import type { Cpu } from './core/cpu.ts';
import { EBUSY, EINVAL, ENOENT, ESHUTDOWN, invalid, isA, traceFrom } from './base/errors.ts';
import type { FastWorkqueue, KcontFunctionOn } from './core/fast-workqueue.ts';
import { halt } from './core/halt.ts';
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
 * Flag of {@link kcont_workqueue_acquire}: the workqueue has a queue per CPU.
 *
 * @public
 */
export const WQ_PERCPU = 1;

/** The predefined workqueue of the highest priority; synchronous functions only. @public */
export const wq_softserial: FastWorkqueue = kernel.wq.softserial;
/** The workqueue for protocol work; synchronous functions only. @public */
export const wq_softnet: FastWorkqueue = kernel.wq.softnet;
/** The workqueue for completed I/O; synchronous functions only. @public */
export const wq_softbio: FastWorkqueue = kernel.wq.softbio;
/** The workqueue for timers; synchronous functions only. @public */
export const wq_softclock: FastWorkqueue = kernel.wq.softclock;
/** The predefined workqueue of the highest priority that takes asynchronous functions. @public */
export const wq_prihigh: Workqueue = kernel.wq.prihigh;
/** The workqueue of medium high priority. @public */
export const wq_primedhigh: Workqueue = kernel.wq.primedhigh;
/** The workqueue of medium low priority. @public */
export const wq_primedlow: Workqueue = kernel.wq.primedlow;
/** The predefined workqueue of the lowest priority, for bulk work. @public */
export const wq_prilow: Workqueue = kernel.wq.prilow;

/**
 * Creates an idle continuation.
 *
 * @param wq - its workqueue
 * @param lock - held while the function runs; null: no lock
 * @param func - called with the argument and the continuation; on `wq_soft…` it must not return a
 * promise
 * @param arg - the argument
 * @param flags - must be 0
 * @returns an instance of `Kcont`
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
 * @param ci - the CPU to run on, for workqueues with WQ_PERCPU; null: any CPU
 * @param nticks - the delay in ticks of 1 ms, 0 … 2^53-1, fractions count; 0: no delay
 * @returns 0: scheduled; EBUSY: it is INVOKING, a halt is waiting, the kernel is in the grace of
 * `close`, or the kernel is closed while a run is in flight; ENOENT: `ci` was given for a workqueue
 * without WQ_PERCPU; EINVAL: the delay or CPU is invalid, the continuation was destroyed, or the kernel
 * is closed and no run is in flight. If the result is not 0, nothing has changed
 *
 * @public
 */
export function kcont_schedule<A>(kc: Kcont<A>, ci: Cpu | null, nticks: number): number {
  const errno = kc._schedule(nticks, ci);
  return errno === ESHUTDOWN || errno === DESTROYED ? EINVAL : errno;
}

/**
 * Stops a continuation permanently. See {@link KcontHandle.destroy | Kcont.destroy}.
 *
 * @param kc - the continuation
 *
 * @public
 */
export function kcont_destroy<A>(kc: Kcont<A>): void {
  kc.destroy();
}

/**
 * Returns the lock of a continuation.
 *
 * @param kc - the continuation
 * @returns its lock, or null
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
 * @param lock - the new lock; null: no lock
 * @returns the previous lock
 * @throws KcontError EINVAL for a lock if it had no lock before, or if destroyed; EPERM if the current
 * lock is not held
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
 * @param func - the new function; without a lock it must be the current function
 * @param arg - the new argument
 * @throws KcontError EINVAL for another function without a lock, or if destroyed; EPERM if the lock is
 * not held
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
 * Withdraws a scheduled run immediately. See {@link KcontHandle.stop | Kcont.stop}.
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
 * Tells whether a continuation is PENDING.
 *
 * @param kc - the continuation
 * @returns whether its timer is running
 *
 * @public
 */
export function kcont_pending<A>(kc: Kcont<A>): boolean {
  return kc.pending;
}

/**
 * Tells whether the function has been entered since it was last scheduled.
 *
 * @param kc - the continuation
 * @returns whether it has been entered, and has not been stopped since
 *
 * @public
 */
export function kcont_expired<A>(kc: Kcont<A>): boolean {
  return kc.expired;
}

/**
 * Tells whether a continuation is PENDING, INVOKING or EXPIRED.
 *
 * @param kc - the continuation
 * @returns whether any of these is set
 *
 * @public
 */
export function kcont_active<A>(kc: Kcont<A>): boolean {
  return kc.active;
}

/**
 * Tells whether a continuation is INVOKING.
 *
 * @param kc - the continuation
 * @returns whether it is committed to run, or is running and has not called `kcont_ack`
 *
 * @public
 */
export function kcont_invoking<A>(kc: Kcont<A>): boolean {
  return kc.invoking;
}

/**
 * Acknowledges the run in flight. See {@link KcontHandle.ack | Kcont.ack}.
 *
 * @param kc - the continuation
 * @returns true: INVOKING was cleared; false: it is not running, or has already been acknowledged
 *
 * @public
 */
export function kcont_ack<A>(kc: Kcont<A>): boolean {
  return kc.ack();
}

/**
 * Stops a continuation and waits for a run in flight. See {@link KcontHandle.halt | Kcont.halt}.
 *
 * @param kc - the continuation
 * @param interlock - a lock that the caller holds; released while waiting, and taken again afterwards
 * @returns a promise of whether it waited for a run
 *
 * @public
 */
export function kcont_halt<A>(kc: Kcont<A>, interlock?: Lock): Promise<boolean> {
  return halt(kc, interlock, kcont_halt);
}

/**
 * Stops a continuation, and calls back when a run in flight has settled. See
 * {@link KcontHandle.drainAsync | Kcont.drainAsync}.
 *
 * @param kc - the continuation
 * @param fn - called with the argument as soon as a run in flight has settled
 * @returns true: it is idle, and `fn` is not called; false: `fn` will be called
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
 * Stops a continuation and tells both whether a run was withdrawn and whether one is in flight. See
 * {@link KcontHandle.cancel | Kcont.cancel}.
 *
 * @param kc - the continuation
 * @returns the bits CANCELLED and DRAINING
 *
 * @public
 */
export function kcont_cancel<A>(kc: Kcont<A>): number {
  return kc.cancel();
}

/**
 * Returns the workqueue for a priority. Equal calls return the same workqueue.
 *
 * @param pri - the priority, 0 … 223; see PRI_SOFTSERIAL … PRI_PRILOW
 * @param flags - 0, or WQ_PERCPU
 * @returns the workqueue
 * @throws KcontError EINVAL for an invalid priority or invalid flags
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
 * Releases a workqueue. It is freed when the last acquire has been released and it has no continuations
 * and no runs in flight.
 *
 * @param wq - the workqueue
 * @returns 0: released; EINVAL: it was released more often than acquired, or is not a workqueue
 *
 * @public
 */
export function kcont_workqueue_release(wq: Workqueue): number {
  return isA(wq, Workqueue) && wq._release() ? 0 : EINVAL;
}
