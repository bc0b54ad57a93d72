/**
 * Replaces the timer functions among the globals: `node --import kcont/timers/register app.js`.
 *
 * @remarks
 * They run on a kernel of their own, so that `kernel.close()` of the process-wide one leaves the
 * timers of the app alone. Its time and its waking are the host's, whatever fake timers come later:
 * timers that were set before, and functions that were taken before, go on in real time, as Node's
 * own do. Fakes take the place of the functions among the globals. Other kernels obey them.
 *
 * @packageDocumentation
 */

import { HostClock } from '../../time/host-clock.ts';
import { Kernel } from '../../core/kernel.ts';
import { FLAG, optionsOf, readOptions } from '../../base/options-check.ts';
import type { DelayRules } from './delay.ts';
import { timersOn, type Timers } from './functions.ts';

/**
 * The kernel on which the globals run.
 *
 * @public
 */
export const kernel: Kernel = new Kernel({ clock: new HostClock(false) });

/**
 * What programs that know nothing of kcont get.
 *
 * @public
 */
export interface TakeOverOptions {
  /**
   * Delays of more than 2^31-1 ms take as long as they say. Default false: 1 ms, with a warning, as
   * in Node. With `--import` it is set by KCONT_LONG_DELAYS=1 in the environment.
   */
  longDelays?: boolean;
}

const TAKE_OVER = optionsOf<TakeOverOptions>('takeOver', { longDelays: FLAG });

const rules: DelayRules = { longDelays: process.env['KCONT_LONG_DELAYS'] === '1' };
const timers: Timers = timersOn(kernel, rules);

/** The globals that are replaced. */
const NAMES = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
] as const;

type Name = (typeof NAMES)[number];

/** What was there before. */
const before = new Map<Name, PropertyDescriptor>();

/**
 * Replaces the globals, as loading this module has done. A second time it only takes the options.
 *
 * @param options - optional settings; what is left out stays as it is
 * @throws KcontError EINVAL for an option that is not what it has to be
 *
 * @public
 */
export function takeOver(options?: TakeOverOptions): void {
  const { longDelays = rules.longDelays } = readOptions(options, TAKE_OVER, takeOver);
  rules.longDelays = longDelays;
  for (const name of NAMES) {
    const found = Object.getOwnPropertyDescriptor(globalThis, name);
    if (found === undefined || found.value === timers[name]) continue;
    before.set(name, found);
    Object.defineProperty(globalThis, name, {
      configurable: true,
      enumerable: true,
      writable: true,
      value: timers[name],
    });
  }
}

/**
 * Undoes the take-over. Timers that are armed stay armed, and can still be cleared.
 *
 * @returns true: the globals are what they were; false: somebody has replaced some of them since,
 * and those were left as they are
 *
 * @public
 */
export function restore(): boolean {
  let all = true;
  for (const [name, found] of before) {
    if (globalThis[name] === (timers[name] as unknown)) {
      Object.defineProperty(globalThis, name, found);
      before.delete(name);
    } else all = false;
  }
  return all;
}

takeOver();
