/**
 * A drop-in replacement for `node:timers`, built on continuations.
 *
 * @packageDocumentation
 */

import { Kernel, kernel } from '../../core/kernel.ts';
import { invalid, isA, refuseOptions, traceFrom } from '../../base/errors.ts';
import {
  timersOn,
  type SetImmediate,
  type SetTimeout,
  type SetTimer,
  type Timers,
} from './functions.ts';
import type { TimersPromises } from './promises.ts';

export type {
  HostImmediate,
  HostTimeout,
  SetImmediate,
  SetTimeout,
  SetTimer,
  Timers,
} from './functions.ts';
export type { Immediate } from './immediate.ts';
export type { Scheduler, TimerOptions, TimersPromises } from './promises.ts';
export type { Timeout } from './timeout.ts';

/**
 * Returns the timer functions of a kernel, the same ones for every call.
 *
 * @example
 * ```ts
 * const clock = new VirtualClock();
 * const { setTimeout, clearTimeout } = createTimers(new Kernel({ clock }));
 * setTimeout(() => console.log('a day has passed'), 86_400_000);
 * clock.tick(86_400_000);
 * ```
 *
 * @param on - the kernel whose clock and workqueues they use
 * @returns the functions of `node:timers`
 * @throws KcontError EINVAL if the argument is not a kernel, or if options are given
 *
 * @public
 */
export function createTimers(on: Kernel): Timers;
export function createTimers(on: Kernel, given?: unknown): Timers {
  if (!isA(on, Kernel)) throw traceFrom(createTimers, invalid('kernel', 'a Kernel', on));
  if (typeof given === 'object') refuseOptions(given, 'createTimers', createTimers);
  return timersOn(on, { longDelays: true });
}

const timers: Timers = createTimers(kernel);

/**
 * Calls a function once, after a delay.
 *
 * @public
 */
export const setTimeout: SetTimeout = timers.setTimeout;

/**
 * Calls a function repeatedly. The delay counts from the start of each call.
 *
 * @public
 */
export const setInterval: SetTimer = timers.setInterval;

/**
 * Calls a function after the callbacks of I/O that has arrived.
 *
 * @public
 */
export const setImmediate: SetImmediate = timers.setImmediate;

/**
 * Clears a timer, given as the object or its primitive. It is not called any more.
 *
 * @public
 */
export const clearTimeout: Timers['clearTimeout'] = timers.clearTimeout;

/**
 * Clears a timer, as {@link clearTimeout} does.
 *
 * @public
 */
export const clearInterval: Timers['clearInterval'] = timers.clearInterval;

/**
 * Clears an immediate. It is not called any more.
 *
 * @public
 */
export const clearImmediate: Timers['clearImmediate'] = timers.clearImmediate;

/**
 * The functions of `node:timers/promises`, which `kcont/timers/promises` exports too.
 *
 * @public
 */
export const promises: TimersPromises = timers.promises;
