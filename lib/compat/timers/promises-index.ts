/**
 * A drop-in replacement for `node:timers/promises`, built on continuations.
 *
 * @packageDocumentation
 */

import { promises } from './index.ts';
import type { Scheduler, TimersPromises } from './promises.ts';

export type { Scheduler, TimerOptions, TimersPromises } from './promises.ts';

/**
 * Returns a promise that is fulfilled with a value after a delay, 1 ms by default.
 *
 * @public
 */
export const setTimeout: TimersPromises['setTimeout'] = promises.setTimeout;

/**
 * Returns a promise that is fulfilled with a value after the callbacks of I/O that has arrived.
 *
 * @public
 */
export const setImmediate: TimersPromises['setImmediate'] = promises.setImmediate;

/**
 * Yields a value every `delay` ms, 1 by default. Values that are not consumed in time are queued.
 *
 * @public
 */
export const setInterval: TimersPromises['setInterval'] = promises.setInterval;

/**
 * The part of the Scheduling APIs that Node implements.
 *
 * @public
 */
export const scheduler: Scheduler = promises.scheduler;
