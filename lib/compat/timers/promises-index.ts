/**
 * A drop-in for `node:timers/promises`: its functions, on continuations.
 *
 * @packageDocumentation
 */

import { promises } from './index.ts';
import type { Scheduler, TimersPromises } from './promises.ts';

export type { Scheduler, TimerOptions, TimersPromises } from './promises.ts';

/**
 * A promise that is fulfilled with a value when a delay is over, 1 ms by default.
 *
 * @public
 */
export const setTimeout: TimersPromises['setTimeout'] = promises.setTimeout;

/**
 * A promise that is fulfilled with a value after the I/O that has arrived.
 *
 * @public
 */
export const setImmediate: TimersPromises['setImmediate'] = promises.setImmediate;

/**
 * Yields a value every `delay` ms, 1 by default; values that were not asked for wait.
 *
 * @public
 */
export const setInterval: TimersPromises['setInterval'] = promises.setInterval;

/**
 * The part of the Scheduling APIs that Node has.
 *
 * @public
 */
export const scheduler: Scheduler = promises.scheduler;
