/*
 * Priorities: integers from 0 to 223, as in NetBSD's sys/param.h. Those of soft interrupts begin at 192.
 * The eight predefined priorities are eight apart, so that others fit in between.
 */

import { integerOf, type Kind } from './options-check.ts';

/** Priority of `wq_softserial`: the highest. @public */
export const PRI_SOFTSERIAL = 223;
/** Priority of `wq_softnet`. @public */
export const PRI_SOFTNET = 215;
/** Priority of `wq_softbio`. @public */
export const PRI_SOFTBIO = 207;
/** Priority of `wq_softclock`. @public */
export const PRI_SOFTCLOCK = 199;
/** Priority of `wq_prihigh`: the highest that may run asynchronous functions. @public */
export const PRI_PRIHIGH = 127;
/** Priority of `wq_primedhigh`. @public */
export const PRI_PRIMEDHIGH = 119;
/** Priority of `wq_primedlow`. @public */
export const PRI_PRIMEDLOW = 111;
/** Priority of `wq_prilow`. @public */
export const PRI_PRILOW = 103;

/**
 * The lowest priority of workqueues that take synchronous functions only.
 *
 * @internal
 */
export const LOWEST_FAST = 192;
/**
 * The number of priorities.
 *
 * @internal
 */
export const PRIORITIES = 224;

/**
 * The priority at which a continuation can be dispatched for a waiter whose priority is any number, as in
 * `kcont/async-mutex`: never a higher one than that of the waiter, unless that is above all; -1: none.
 *
 * @internal
 */
export function levelOf(priority: number): number {
  // NaN is not >= 0.
  return priority >= 0 ? Math.min(Math.floor(priority), PRIORITIES - 1) : -1;
}

/**
 * The check of a priority.
 *
 * @internal
 */
export const PRIORITY: Kind = integerOf('an integer from 0 to 223', 0, PRIORITIES - 1);
